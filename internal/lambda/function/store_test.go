package function

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"lambent.dev/lambent/internal/lifecycle"
)

func TestCreate(t *testing.T) {
	b := newBench(t, t.TempDir())
	f := b.create("f")
	if f.State != Pending || f.StateReasonCode != "Creating" || f.LastUpdateStatus != "" || f.Version != Latest || f.LogGroup != "/aws/lambda/f" {
		t.Errorf("created: %+v", f)
	}
	if d := cmp.Diff(f, b.get("f")); d != "" {
		t.Errorf("read: %s", d)
	}
	b.run()
	ready := b.settled("f")
	if ready.State != Active || ready.StateReason != "" || ready.LastUpdateStatus != Successful || ready.RevisionID == f.RevisionID || ready.Image.Digest != "sha256:1" {
		t.Errorf("ready: %+v", ready)
	}
	if d := cmp.Diff(ready, b.serving("f")); d != "" {
		t.Errorf("serving: %s", d)
	}
	if got, want := ready.QualifiedARN(), "arn:aws:lambda:us-east-1:111111111111:function:f:$LATEST"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	_, err := b.Create(t.Context(), spec("f"))
	wantErr(t, "create again", err, ErrExists)
	_, err = b.Get("222222222222", "f")
	wantErr(t, "other account", err, ErrNotFound)
}

// TestSealed wants that nothing of a function's environment can be read in the engine.
func TestSealed(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.create("f")
	all, err := b.client.Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, kv := range all.Kvs {
		if bytes.Contains(kv.Key, []byte("function")) {
			rows++
		}
		if bytes.Contains(kv.Value, []byte("hunter2")) || bytes.Contains(kv.Value, []byte("TOKEN")) {
			t.Errorf("%s is readable: %.200q", kv.Key, kv.Value)
		}
	}
	if rows == 0 {
		t.Error("no row of a function was looked at")
	}
}

// TestRestart wants that what a stopped server left undone is done by the next.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, dir)
	b.run()
	b.create("updated")
	b.settled("updated")
	b.hold("updated") // and never releases
	b.hold("created")
	b.create("created")
	before := b.serving("updated")
	b.configure("updated", func(s *Settings) { s.Memory = 256 })
	b.begun("updated", 2)
	b.begun("created", 1)
	b.stop()
	if f := b.get("created"); f.State != Pending {
		t.Errorf("stopping is no verdict, but the function is %s", f.State)
	}
	b.close()

	b = newBench(t, dir)
	if d := cmp.Diff(before, b.serving("updated")); d != "" {
		t.Errorf("serves after the restart: %s", d)
	}
	b.run()
	if f := b.settled("created"); f.State != Active {
		t.Errorf("created: %+v", f)
	}
	if f := b.settled("updated"); f.LastUpdateStatus != Successful || b.serving("updated").Memory != 256 {
		t.Errorf("updated: %+v", f)
	}
}

// TestUpdateServes wants that the old configuration serves until the new one is ready.
func TestUpdateServes(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.run()
	b.create("f")
	old := b.settled("f")
	release := b.hold("f")
	updated, err := b.UpdateCode(t.Context(), account, "f", old.RevisionID, codeOf("other"), "")
	if err != nil {
		t.Fatal(err)
	}
	if updated.State != Active || updated.LastUpdateStatus != InProgress || updated.Code != codeOf("other") || updated.RevisionID == old.RevisionID {
		t.Errorf("updated: %+v", updated)
	}
	if d := cmp.Diff(old, b.serving("f")); d != "" {
		t.Errorf("serving: %s", d)
	}
	used, err := b.Uses()
	if err != nil {
		t.Fatal(err)
	}
	if !used(codeOf("f").Digest) || !used(codeOf("other").Digest) || used(codeOf("none").Digest) {
		t.Error("both packages are needed during an update, and no other")
	}
	release()
	if f := b.settled("f"); f.LastUpdateStatus != Successful || f.LastUpdateStatusReason != "" {
		t.Errorf("ready: %+v", f)
	}
	now := b.serving("f")
	if now.Code != codeOf("other") || now.Generation == old.Generation {
		t.Errorf("serving: %+v", now)
	}
	if used, err = b.Uses(); err != nil || used(codeOf("f").Digest) {
		t.Errorf("the old package is still needed (%v)", err)
	}
}

// TestFailure wants that what cannot be made ready says so, and can be mended.
func TestFailure(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.run()
	b.set(errors.New("no image"), "")
	b.create("f")
	f := b.settled("f")
	if f.State != Failed || f.StateReason == "" || f.StateReasonCode == "" {
		t.Errorf("failed: %+v", f)
	}
	b.set(nil, "sha256:1")
	b.configure("f", func(s *Settings) { s.Memory = 256 })
	f = b.settled("f")
	if f.State != Active || f.StateReason != "" || b.serving("f").Memory != 256 {
		t.Errorf("mended: %+v", f)
	}
	good := b.serving("f")

	b.set(errors.New("no image"), "")
	b.configure("f", func(s *Settings) { s.Memory = 512 })
	f = b.settled("f")
	if f.State != Active || f.LastUpdateStatus != Failed || f.LastUpdateStatusReasonCode == "" || f.Memory != 512 {
		t.Errorf("failed update: %+v", f)
	}
	if d := cmp.Diff(good, b.serving("f")); d != "" {
		t.Errorf("serving after a failed update: %s", d)
	}
	b.configure("f", func(s *Settings) { s.Memory = 1024 })
	b.settled("f")
	if d := cmp.Diff(good, b.serving("f")); d != "" {
		t.Errorf("serving after two failed updates: %s", d)
	}
	b.set(nil, "sha256:1")
	b.configure("f", func(s *Settings) { s.Timeout = 10 })
	b.settled("f")
	if s := b.serving("f"); s.Memory != 1024 || s.Timeout != 10 {
		t.Errorf("mended update: %+v", s)
	}
}

// TestRefused wants that changes are refused where AWS refuses them, and change nothing.
func TestRefused(t *testing.T) {
	b := newBench(t, t.TempDir())
	change := func() error {
		_, err := b.UpdateSettings(t.Context(), account, "f", "", func(*Settings) error { return nil })
		return err
	}
	wantErr(t, "no function", change(), ErrNotFound)
	wantErr(t, "delete nothing", b.Delete(t.Context(), account, "f"), ErrNotFound)
	b.create("f")
	wantErr(t, "pending", change(), ErrPending)
	wantErr(t, "tag pending", b.Tag(t.Context(), account, "f", map[string]string{"a": "b"}, nil), ErrPending)
	b.run()
	ready := b.settled("f")
	_, err := b.UpdateCode(t.Context(), account, "f", "another", codeOf("g"), "")
	wantErr(t, "revision", err, ErrRevision)
	refusal := errors.New("refused")
	_, err = b.UpdateSettings(t.Context(), account, "f", "", func(s *Settings) error {
		s.Environment["TOKEN"] = "changed"
		return refusal
	})
	wantErr(t, "edit", err, refusal)
	if d := cmp.Diff(ready, b.get("f")); d != "" {
		t.Errorf("refusals changed: %s", d)
	}
	defer b.hold("f")()
	b.configure("f", func(s *Settings) { s.Memory = 256 })
	wantErr(t, "updating", change(), ErrUpdating)
	wantErr(t, "tag updating", b.Tag(t.Context(), account, "f", nil, []string{"a"}), ErrUpdating)
}

// TestRace wants that of many changes that name the same revision one wins, and that of many
// creations one does.
func TestRace(t *testing.T) {
	b := newBench(t, t.TempDir())
	const racers = 16
	race := func(fn func(i int) error) (won int, others []error) {
		var tasks lifecycle.Tasks
		var mu sync.Mutex
		for i := range racers {
			tasks.Go("racer", func() {
				err := fn(i)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
					return
				}
				others = append(others, err)
			})
		}
		tasks.Wait()
		return won, others
	}
	won, others := race(func(int) error { _, err := b.Create(t.Context(), spec("f")); return err })
	if won != 1 {
		t.Errorf("%d creations won", won)
	}
	for _, err := range others {
		wantErr(t, "creation", err, ErrExists)
	}
	b.run()
	f := b.settled("f")
	defer b.hold("f")()
	won, others = race(func(i int) error {
		_, err := b.UpdateSettings(t.Context(), account, "f", f.RevisionID, func(s *Settings) error { s.Memory = 128 + i; return nil })
		return err
	})
	if won != 1 {
		t.Errorf("%d updates won", won)
	}
	for _, err := range others {
		wantErr(t, "update", err, ErrRevision)
	}
}

// TestGeneration wants that an environment outlives the changes that it does not show, and only
// those.
func TestGeneration(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.run()
	b.create("f")
	b.settled("f")
	for _, c := range []struct {
		what string
		same bool
		do   func()
	}{
		{"description", true, func() { b.configure("f", func(s *Settings) { s.Description = "new" }) }},
		{"tags", true, func() {
			if err := b.Tag(t.Context(), account, "f", map[string]string{"a": "b"}, nil); err != nil {
				t.Fatal(err)
			}
		}},
		{"environment", false, func() { b.configure("f", func(s *Settings) { s.Environment = map[string]string{"A": "B"} }) }},
		{"handler", false, func() { b.configure("f", func(s *Settings) { s.Handler = "a.b" }) }},
		{"role", false, func() { b.configure("f", func(s *Settings) { s.Role += "2" }) }},
		{"memory", false, func() { b.configure("f", func(s *Settings) { s.Memory++ }) }},
		{"timeout", false, func() { b.configure("f", func(s *Settings) { s.Timeout++ }) }},
		{"storage", false, func() { b.configure("f", func(s *Settings) { s.EphemeralStorage++ }) }},
		{"code", false, func() { b.code("f", "new") }},
		{"same code", true, func() { b.code("f", "new") }},
		{"image", false, func() { b.set(nil, "sha256:2"); b.code("f", "new") }},
		{"deleted and made again", false, func() {
			if err := b.Delete(t.Context(), account, "f"); err != nil {
				t.Fatal(err)
			}
			b.create("f")
		}},
	} {
		before := b.serving("f").Generation
		c.do()
		b.settled("f")
		if after := b.serving("f").Generation; after == "" || (after == before) != c.same {
			t.Errorf("%s: %q, then %q", c.what, before, after)
		}
	}
}

func (b *bench) code(name, content string) {
	b.t.Helper()
	if _, err := b.UpdateCode(b.t.Context(), account, name, "", codeOf(content), ""); err != nil {
		b.t.Fatal(err)
	}
}

// TestSlow wants that a function whose image takes long holds up no other one, not even one that
// takes its name.
func TestSlow(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.run()
	release := b.hold("slow")
	defer release()
	b.create("slow")
	b.begun("slow", 1)
	for i := range 3 {
		name := fmt.Sprintf("f%d", i)
		b.create(name)
		if f := b.settled(name); f.State != Active {
			t.Errorf("%+v", f)
		}
	}
	if err := b.Delete(t.Context(), account, "slow"); err != nil {
		t.Fatal(err)
	}
	again := b.create("slow")
	b.begun("slow", 2)
	release()
	if f := b.settled("slow"); f.State != Active || f.ID != again.ID {
		t.Errorf("made again: %+v", f)
	}
}

func TestCodeStorage(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.run()
	big := spec("big")
	big.Code.Size = CodeStorage - 100
	if _, err := b.Create(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	b.settled("big")
	more := spec("more")
	more.Code.Size = 101
	_, err := b.Create(t.Context(), more)
	wantErr(t, "too much", err, ErrStorage)
	more.Code.Size = 100
	if _, err := b.Create(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	if n, size, err := b.Usage(account); n != 2 || size != CodeStorage || err != nil {
		t.Errorf("%d functions, %d bytes, %v", n, size, err)
	}
	// A package that takes the place of another needs the difference only.
	same := Code{Digest: codeOf("x").Digest, Size: CodeStorage - 100}
	if _, err := b.UpdateCode(t.Context(), account, "big", "", same, ""); err != nil {
		t.Errorf("replace: %v", err)
	}
	b.settled("big")
	same.Size++
	_, err = b.UpdateCode(t.Context(), account, "big", "", same, "")
	wantErr(t, "grow", err, ErrStorage)
	more.Account = "222222222222"
	if _, err := b.Create(t.Context(), more); err != nil {
		t.Errorf("another account: %v", err)
	}
}

func TestTags(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.run()
	b.create("f")
	before := b.settled("f")
	tag := func(set map[string]string, remove ...string) error {
		return b.Tag(t.Context(), account, "f", set, remove)
	}
	if err := errors.Join(tag(map[string]string{"a": "1", "b": "2"}), tag(map[string]string{"b": "3"}), tag(nil, "a", "none")); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"b": "3"}, b.get("f").Tags); d != "" {
		t.Error(d)
	}
	many := map[string]string{}
	for i := range MaxTags {
		many[fmt.Sprint(i)] = ""
	}
	wantErr(t, "51 tags", tag(many), ErrTags)
	if err := tag(many, "b"); err != nil {
		t.Errorf("50 tags: %v", err)
	}
	if f := b.get("f"); f.State != before.State || f.LastUpdateStatus != before.LastUpdateStatus || !f.LastModified.Equal(before.LastModified) {
		t.Errorf("tags changed more than tags: %+v", f)
	}
	f := spec("g")
	f.Tags = many
	f.Tags["one more"] = ""
	_, err := b.Create(t.Context(), f)
	wantErr(t, "create with 51 tags", err, ErrTags)
}

func TestList(t *testing.T) {
	b := newBench(t, t.TempDir())
	for _, name := range []string{"c", "a", "b"} {
		b.create(name)
	}
	var pages [][]string
	for after, more := "", true; more; {
		page, m, err := b.List(account, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range page {
			names = append(names, f.Name)
		}
		pages, after, more = append(pages, names), names[len(names)-1], m
	}
	if d := cmp.Diff([][]string{{"a", "b"}, {"c"}}, pages); d != "" {
		t.Error(d)
	}
	if page, more, err := b.List("222222222222", "", 2); len(page) > 0 || more || err != nil {
		t.Errorf("another account: %v %v %v", page, more, err)
	}
}
