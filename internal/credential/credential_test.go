package credential_test

import (
	"encoding/base64"
	"errors"
	"regexp"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/kv/kvtest"
)

const account = "000123456789"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A clock that tests set.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func open(t testing.TB, store *kv.Store, key byte) (*credential.Store, *clock) {
	t.Helper()
	c := &clock{time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	s, err := credential.Open(store, [32]byte{key}, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestRoot(t *testing.T) {
	store := kvtest.Open(t)
	s, _ := open(t, store, 1)
	k, created, err := s.Root(t.Context(), account)
	if err != nil || !created {
		t.Fatalf("first: created %v, err %v", created, err)
	}
	if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(k.ID) || len(k.Secret) != 40 {
		t.Errorf("key %s, secret of %d characters", k.ID, len(k.Secret))
	}
	again, created, err := s.Root(t.Context(), account)
	if err != nil || created || again != k {
		t.Fatalf("second: %v, created %v, err %v", again.ID, created, err)
	}
	c, err := s.Lookup(t.Context(), k.ID, "")
	if err != nil || c.Kind != credential.Root || c.Account != account || c.Secret != k.Secret {
		t.Fatalf("Lookup: %+v, %v", c, err)
	}
	fresh, err := s.RotateRoot(t.Context(), account)
	if err != nil || fresh.ID == k.ID {
		t.Fatalf("rotate: %v, %v", fresh.ID, err)
	}
	if _, err := s.Lookup(t.Context(), k.ID, ""); !errors.Is(err, credential.ErrUnknown) {
		t.Errorf("old key: %v", err)
	}
	if _, err := s.Lookup(t.Context(), fresh.ID, ""); err != nil {
		t.Errorf("new key: %v", err)
	}
}

func TestKeysOfUsers(t *testing.T) {
	store := kvtest.Open(t)
	s, _ := open(t, store, 1)
	k, err := s.NewAccessKey(account, "bob", "AIDAX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Txn(t.Context(), s.InsertAccessKey(k)); err != nil {
		t.Fatal(err)
	}
	rows, err := s.AccessKeys(account, "AIDAX")
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d keys, %v", len(rows), err)
	}
	if _, err := store.Txn(t.Context(), s.SetStatus(rows[0], credential.Inactive)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lookup(t.Context(), k.ID, ""); !errors.Is(err, credential.ErrUnknown) {
		t.Errorf("inactive key: %v", err)
	}
	for _, id := range []string{"", "AKIA", "AKIAAAAAAAAAAAAAAAAA", k.ID + "A", "AKIA!!!!!!!!!!!!!!!!"} {
		if _, err := s.Lookup(t.Context(), id, ""); !errors.Is(err, credential.ErrUnknown) {
			t.Errorf("key %q: %v", id, err)
		}
	}
}

func TestAccountOf(t *testing.T) {
	s, _ := open(t, kvtest.Open(t), 1)
	for _, want := range []string{"000000000000", "123456789012", "999999999999"} {
		k, err := s.NewAccessKey(want, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := credential.AccountOf(k.ID); !ok || got != want {
			t.Errorf("AccountOf(%s) = %s, want %s", k.ID, got, want)
		}
	}
}

func TestSession(t *testing.T) {
	store := kvtest.Open(t)
	s, now := open(t, store, 1)
	session, err := s.Session(account, "role", "AROAX", "name", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^ASIA[A-Z2-7]{16}$`).MatchString(session.AccessKeyID) || len(session.Secret) != 40 {
		t.Errorf("key %s, secret of %d characters", session.AccessKeyID, len(session.Secret))
	}
	c, err := s.Lookup(t.Context(), session.AccessKeyID, session.Token)
	if err != nil {
		t.Fatal(err)
	}
	want := credential.Credential{
		Secret: session.Secret, Account: account, Kind: credential.Role, Name: "role", ID: "AROAX", SessionName: "name",
		Issued: now.Time, Expires: now.Add(time.Hour),
	}
	if c != want {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
	if _, err := s.Lookup(t.Context(), session.AccessKeyID, ""); !errors.Is(err, credential.ErrUnknown) {
		t.Errorf("without a token: %v", err)
	}
	other, _ := s.Session(account, "role", "AROAX", "name", time.Hour)
	if other.Token == session.Token || other.Secret == session.Secret {
		t.Error("two sessions are the same")
	}
	if _, err := s.Lookup(t.Context(), other.AccessKeyID, session.Token); !errors.Is(err, credential.ErrInvalidToken) {
		t.Errorf("another session's key: %v", err)
	}
	now.Time = now.Add(time.Hour - time.Second)
	if _, err := s.Lookup(t.Context(), session.AccessKeyID, session.Token); err != nil {
		t.Errorf("a second before the end: %v", err)
	}
	now.Time = now.Add(time.Second)
	if _, err := s.Lookup(t.Context(), session.AccessKeyID, session.Token); !errors.Is(err, credential.ErrExpired) {
		t.Errorf("at the end: %v", err)
	}
}

// TestClockJumps: an hour in either direction takes from a session or adds to it that hour and no
// more; one that was issued by a clock ahead is good when the clock is set right.
func TestClockJumps(t *testing.T) {
	s, now := open(t, kvtest.Open(t), 1)
	session, err := s.Session(account, "role", "AROAX", "name", 12*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	start := now.Time
	for at, want := range map[time.Duration]error{
		-time.Hour: nil, time.Hour: nil, 12*time.Hour - time.Second: nil, 12 * time.Hour: credential.ErrExpired,
	} {
		now.Time = start.Add(at)
		if _, err := s.Lookup(t.Context(), session.AccessKeyID, session.Token); !errors.Is(err, want) {
			t.Errorf("the clock at %s: %v, want %v", at, err, want)
		}
	}
}

func TestTokensOfOtherRegions(t *testing.T) {
	one, _ := open(t, kvtest.Open(t), 1)
	two, _ := open(t, kvtest.Open(t), 2)
	session, err := one.Session(account, "role", "AROAX", "name", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Lookup(t.Context(), session.AccessKeyID, session.Token); !errors.Is(err, credential.ErrInvalidToken) {
		t.Errorf("got %v", err)
	}
}

func TestEveryBitOfATokenCounts(t *testing.T) {
	s, _ := open(t, kvtest.Open(t), 1)
	session, err := s.Session(account, "role", "AROAX", "name", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(session.Token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		raw[i/8] ^= 1 << (i % 8)
		_, err := s.Lookup(t.Context(), session.AccessKeyID, base64.StdEncoding.EncodeToString(raw))
		if !errors.Is(err, credential.ErrInvalidToken) {
			t.Fatalf("bit %d: %v", i, err)
		}
		raw[i/8] ^= 1 << (i % 8)
	}
	for i := range session.Token {
		for _, changed := range []string{session.Token[:i], session.Token[:i] + "\n" + session.Token[i:]} {
			if changed == "" {
				continue
			}
			if _, err := s.Lookup(t.Context(), session.AccessKeyID, changed); !errors.Is(err, credential.ErrInvalidToken) {
				t.Fatalf("changed at %d: %v", i, err)
			}
		}
	}
}

func FuzzToken(f *testing.F) {
	s, _ := open(f, kvtest.Open(f), 1)
	session, err := s.Session(account, "role", "AROAX", "name", time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(session.AccessKeyID, session.Token)
	f.Add("", "")
	f.Add("ASIAAAAAAAAAAAAAAAAA", "AQ==")
	f.Fuzz(func(t *testing.T, id, token string) {
		// Workers are processes of their own: a token another one sealed with the same key is good.
		c, err := s.Lookup(t.Context(), id, token)
		switch {
		case err == nil && (c.Name != "role" || c.ID != "AROAX" || c.SessionName != "name" || c.Account != account):
			t.Fatalf("Lookup(%q, %q) believes %+v", id, token, c)
		case err != nil && id == session.AccessKeyID && token == session.Token:
			t.Fatalf("refused its own token: %v", err)
		}
	})
}

func BenchmarkLookupSession(b *testing.B) {
	s, _ := open(b, kvtest.Open(b), 1)
	session, err := s.Session(account, "role", "AROAX", "name", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Lookup(b.Context(), session.AccessKeyID, session.Token); err != nil {
			b.Fatal(err)
		}
	}
}
