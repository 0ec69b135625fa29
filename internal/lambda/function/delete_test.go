package function

import (
	"errors"
	"testing"

	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
)

// TestDeletingTogether: what belongs to a function goes in the transaction that deletes it, by the
// function's own id, so that nothing of one made again under the same name can go with it.
func TestDeletingTogether(t *testing.T) {
	db := kvtest.Open(t)
	things := kv.NewTable[string](db, "thing")
	refuse := errors.New("cannot be made")
	var fault error
	s := New(Config{KV: db, Region: "us-east-1", Deleting: func(f Function) kv.Op {
		if fault != nil {
			return kv.Failed(fault)
		}
		row, err := things.Get("1", f.ID)
		if err != nil {
			return kv.Failed(err)
		}
		return things.Delete(row)
	}})
	f, err := s.Create(t.Context(), Function{Account: "1", Name: "f"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Txn(t.Context(), things.Create("1", f.ID, "its"), things.Create("1", "other", "not its")); err != nil {
		t.Fatal(err)
	}
	fault = refuse
	if err := s.Delete(t.Context(), "1", "f"); !errors.Is(err, refuse) {
		t.Errorf("Delete: %v", err)
	}
	if _, err := s.Get("1", "f"); err != nil {
		t.Errorf("a function whose things cannot go: %v", err)
	}
	fault = nil
	if err := s.Delete(t.Context(), "1", "f"); err != nil {
		t.Fatal(err)
	}
	_, gone := s.Get("1", "f")
	left, err := things.All()
	if !errors.Is(gone, ErrNotFound) || err != nil || len(left) != 1 || left[0].Key != "other" {
		t.Errorf("left of it: %v, %v, %v", gone, left, err)
	}
}
