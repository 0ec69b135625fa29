package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lambent.dev/lambent/internal/sandbox"
)

// lifecycle tests freezing, killing and deleting.
func (s suite) lifecycle() []test {
	return []test{
		{"Kill", s.kill},
		{"Signalled", s.signalled},
		{"FreezeStopsTime", s.freezeStopsTime},
		{"FreezeStopsCPU", s.freezeStopsCPU},
		{"FreezeAnyTime", s.freezeAnyTime},
		{"KillFrozen", s.killFrozen},
		{"DeleteFrozen", s.deleteFrozen},
		{"DeleteTwice", s.deleteTwice},
		{"AfterTheEnd", s.afterTheEnd},
		{"DuplicateID", s.duplicateID},
		{"Cancelled", s.cancelled},
		{"Parallel", s.parallel},
		{"SweepSparesTheLiving", s.sweep},
	}
}

func (s suite) kill(t *testing.T) {
	b := s.start(t, s.spec(t, "sleep"))
	b.expect("ready")
	select {
	case <-b.Done():
		t.Fatal("ended by itself")
	default:
	}
	if err := b.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := b.wait(); e != (sandbox.Exit{Code: 137, Signal: 9}) {
		t.Errorf("exit %+v, want signal 9", e)
	}
}

// signalled: the code's own end by a signal is seen.
func (s suite) signalled(t *testing.T) {
	b := s.start(t, s.spec(t, "crash"))
	if e := b.wait(); e != (sandbox.Exit{Code: 128 + int(syscall.SIGABRT), Signal: int(syscall.SIGABRT)}) {
		t.Errorf("exit %+v, want signal 6", e)
	}
}

// freezeStopsTime: no output while frozen, all of it in order afterwards.
func (s suite) freezeStopsTime(t *testing.T) {
	b := s.start(t, s.spec(t, "tick"))
	next := 0
	read := func(n int) {
		t.Helper()
		for range n {
			b.expect(strconv.Itoa(next))
			next++
		}
	}
	read(10)
	for range 3 {
		if err := b.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.Freeze(t.Context()); err != nil {
			t.Fatalf("freezing twice: %v", err)
		}
		if err := b.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.Thaw(t.Context()); err != nil {
			t.Fatalf("thawing twice: %v", err)
		}
		read(20)
	}
}

// freezeStopsCPU: a busy thread uses nothing while frozen, and goes on when thawed.
func (s suite) freezeStopsCPU(t *testing.T) {
	b := s.start(t, s.spec(t, "spin"))
	b.expect("ready")
	if err := b.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := s.cpuTime(b)
	idle(200 * time.Millisecond)
	if after := s.cpuTime(b); after != before {
		t.Errorf("%v of CPU time while frozen", after-before)
	}
	if err := b.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); s.cpuTime(b) < before+50*time.Millisecond; idle(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no CPU time after the thaw")
		}
	}
}

func (s suite) cpuTime(b *box) time.Duration {
	b.t.Helper()
	st, err := b.Stats(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return st.CPUTime
}

// idle lets time pass for the sandbox: what is measured is what it does meanwhile.
func idle(d time.Duration) { <-time.After(d) }

// freezeAnyTime: freezing harms nobody, not while a program starts, nor while it
// starts others or maps memory.
func (s suite) freezeAnyTime(t *testing.T) {
	b := s.start(t, s.spec(t, "churn", "15"))
	n := 0
	for ; ; n++ {
		if err := b.Freeze(t.Context()); errors.Is(err, sandbox.ErrExited) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := b.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Let it get somewhere, not the same distance each time.
		idle(time.Duration(n%7) * 500 * time.Microsecond)
	}
	b.expect("done")
	if e := b.wait(); e != (sandbox.Exit{}) {
		t.Errorf("frozen %d times, exit %+v", n, e)
	}
}

func (s suite) killFrozen(t *testing.T) {
	b := s.start(t, s.spec(t, "spin"))
	b.expect("ready")
	if err := b.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := b.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := b.wait(); e.Signal != 9 {
		t.Errorf("exit %+v, want signal 9", e)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("killing took %v", d)
	}
}

func (s suite) deleteFrozen(t *testing.T) {
	b := s.start(t, s.spec(t, "sleep"))
	b.expect("ready")
	if err := b.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wait()
}

func (s suite) deleteTwice(t *testing.T) {
	b := s.start(t, s.spec(t, "sleep"))
	var g errgroup.Group
	for range 4 {
		g.Go(func() error { return b.Delete(t.Context()) })
	}
	if err := g.Wait(); err != nil {
		t.Error("at the same time:", err)
	}
	if err := b.Delete(t.Context()); err != nil {
		t.Error("again:", err)
	}
	// The id is free again.
	s.start(t, s.spec(t, "print", "again")).expect("again")
}

func (s suite) afterTheEnd(t *testing.T) {
	b := s.start(t, s.spec(t, "exit", "3"))
	b.wait()
	ctx := t.Context()
	if err := b.Freeze(ctx); !errors.Is(err, sandbox.ErrExited) {
		t.Errorf("Freeze: %v", err)
	}
	if err := b.Thaw(ctx); err != nil {
		t.Errorf("Thaw: %v", err)
	}
	if err := b.SetCPU(ctx, 500); !errors.Is(err, sandbox.ErrExited) {
		t.Errorf("SetCPU: %v", err)
	}
	if err := b.SetWeight(ctx, 500); !errors.Is(err, sandbox.ErrExited) {
		t.Errorf("SetWeight: %v", err)
	}
	if err := b.SetSpare(ctx, 1); !errors.Is(err, sandbox.ErrExited) {
		t.Errorf("SetSpare: %v", err)
	}
	if _, err := b.Stats(ctx); !errors.Is(err, sandbox.ErrExited) {
		t.Errorf("Stats: %v", err)
	}
	if err := b.Kill(ctx); err != nil {
		t.Errorf("Kill: %v", err)
	}
	if e := b.Exit(); e != (sandbox.Exit{Code: 3}) {
		t.Errorf("exit %+v", e)
	}
}

func (s suite) duplicateID(t *testing.T) {
	b := s.start(t, s.spec(t, "sleep"))
	b.expect("ready")
	if _, err := s.Runtime.Run(t.Context(), s.spec(t, "print")); !errors.Is(err, os.ErrExist) {
		t.Errorf("second sandbox of one id: %v", err)
	}
	select {
	case <-b.Done():
		t.Error("the first one ended")
	default:
	}
}

// cancelled: a start whose context ends leaves nothing, whenever that is.
func (s suite) cancelled(t *testing.T) {
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		sb, err := s.Runtime.Run(ctx, s.spec(t, "sleep"))
		cancel()
		if err == nil { // it was quick enough
			err = sb.Delete(t.Context())
		} else if ctx.Err() == nil {
			t.Errorf("after %v: %v", after, err)
			continue
		} else {
			err = nil
		}
		if err != nil {
			t.Errorf("after %v: %v", after, err)
		}
	}
}

func (s suite) parallel(t *testing.T) {
	var g errgroup.Group
	for i := range 6 {
		g.Go(func() error {
			spec := s.spec(t, "print", fmt.Sprint(i))
			spec.ID += fmt.Sprint(i)
			r, w, err := os.Pipe()
			if err != nil {
				return err
			}
			defer r.Close()
			spec.Containers[0].Stdout = w
			sb, err := s.Runtime.Run(t.Context(), spec)
			w.Close()
			if err != nil {
				return err
			}
			buf := make([]byte, 10)
			n, _ := r.Read(buf)
			if got := string(buf[:n]); got != fmt.Sprintln(i) {
				err = fmt.Errorf("sandbox %d printed %q", i, got)
			}
			return errors.Join(err, sb.Delete(t.Context()))
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func (s suite) sweep(t *testing.T) {
	b := s.start(t, s.spec(t, "tick"))
	b.expect("0")
	if err := s.Runtime.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.expect("1")
}
