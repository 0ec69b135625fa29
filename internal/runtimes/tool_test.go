package runtimes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

// TestMountsEnd: a program that mounts and dies leaves no mount on the host.
func TestMountsEnd(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	out, err := run(context.Background(), dir, "sh", "-c", "mount -t tmpfs none . && cd . && touch ./inside && cat /proc/self/mounts && kill -9 $$")
	if err == nil {
		t.Fatalf("the program lives: %s", out)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("the mount is still there, %v", err)
	}
}

// TestCancel: a build that is given up takes its programs' children with it.
func TestCancel(t *testing.T) {
	needRoot(t)
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	done := make(chan error)
	go func() {
		_, err := run(ctx, dir, "sh", "-c", "(trap 'touch ended; exit' TERM; touch started; while :; do sleep 0.05; done) & wait")
		done <- err
	}()
	wait := func(name string) {
		for deadline := time.Now().Add(10 * time.Second); ; {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return
			} else if !errors.Is(err, os.ErrNotExist) || time.Now().After(deadline) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	wait("started")
	cancel()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	wait("ended")
}
