package lambent_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"testing"

	"lambent.dev/lambent/internal/api/lambent"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/lifecycle"
	"lambent.dev/lambent/internal/wire"
)

func as(kind iam.Kind) context.Context {
	return iam.WithPrincipal(context.Background(), iam.Principal{Account: "1", ARN: "arn:aws:iam::1:user/u", Kind: kind})
}

func code(err error) string {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// TestCreateBackup: root alone gets one, and one at a time.
func TestCreateBackup(t *testing.T) {
	begun, end := make(chan bool), make(chan bool)
	a := lambent.New(lambent.Config{Backup: func(_ context.Context, to io.Writer) error {
		begun <- true
		<-end
		_, err := io.WriteString(to, "archive")
		return err
	}})
	for _, kind := range []iam.Kind{iam.UserKind, iam.AssumedRole} {
		if err := a.CreateBackup(as(kind), nil, httptest.NewRecorder()); code(err) != "AccessDeniedException" {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
	if err := a.CreateBackup(context.Background(), nil, httptest.NewRecorder()); err == nil {
		t.Error("nobody gets one")
	}
	w := httptest.NewRecorder()
	var err error
	wait := lifecycle.Go("backup", func() { err = a.CreateBackup(as(iam.Root), nil, w) })
	<-begun
	if err := a.CreateBackup(as(iam.Root), nil, httptest.NewRecorder()); code(err) != "TooManyRequestsException" {
		t.Errorf("a second one: %v", err)
	}
	close(end)
	wait()
	if err != nil || !bytes.Equal(w.Body.Bytes(), []byte("archive")) {
		t.Errorf("%v, %q", err, w.Body)
	}
}

// TestGetActivity: one sees the own account, and a stale state is no fault of the caller's.
func TestGetActivity(t *testing.T) {
	var failure error
	a := lambent.New(lambent.Config{Activity: func(account string) (lambent.GetActivityOutput, error) {
		return lambent.GetActivityOutput{Account: account}, failure
	}})
	if out, err := a.GetActivity(as(iam.UserKind), nil); err != nil || out.Account != "1" {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := a.GetActivity(context.Background(), nil); err == nil {
		t.Error("nobody sees it")
	}
	failure = kv.ErrStale
	if _, err := a.GetActivity(as(iam.Root), nil); code(err) != "ServiceUnavailable" {
		t.Errorf("stale: %v", err)
	}
}
