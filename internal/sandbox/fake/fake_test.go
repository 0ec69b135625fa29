package fake_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"lambent.dev/lambent/internal/sandbox/fake"
	"lambent.dev/lambent/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	files, err := sandboxtest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rt := &fake.Runtime{}
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	sandboxtest.Run(t, sandboxtest.Fixture{Runtime: rt, Program: files.Probe, Files: files})
}
