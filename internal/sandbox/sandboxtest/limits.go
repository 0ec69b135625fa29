package sandboxtest

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

func (s suite) memory() []test {
	return []test{
		{"OOM", s.oom},
		{"AllOfIt", s.allOfIt},
		{"Stats", s.stats},
		{"ScratchIsNotMemory", s.scratchIsNotMemory},
	}
}

func (s suite) cpu() []test {
	return []test{{"Quota", s.quota}, {"Weight", s.weight}, {"Spare", s.spare}}
}

// oom: taking twice the memory ends the sandbox, and the reason is known.
func (s suite) oom(t *testing.T) {
	spec := s.spec(t, "alloc", "256")
	spec.Memory = 128 << 20
	b := s.start(t, spec)
	got := 0
	for line := b.line(); line != ""; line = b.line() {
		got, _ = strconv.Atoi(line)
	}
	if e := b.wait(); !e.OOM || e.Signal != 9 {
		t.Errorf("exit %+v, want an out-of-memory kill", e)
	}
	if got < 96 || got > 148 {
		t.Errorf("%d MiB allocated under a limit of 128", got)
	}
}

// allOfIt: most of the memory can be used.
func (s suite) allOfIt(t *testing.T) {
	spec := s.spec(t, "alloc", "104")
	spec.Memory = 128 << 20
	b := s.start(t, spec)
	for n := 8; n <= 104; n += 8 {
		b.expect(strconv.Itoa(n))
	}
	b.expect("ready")
}

func (s suite) stats(t *testing.T) {
	for _, c := range []struct {
		args     []string
		min, max int64
	}{
		{[]string{"sleep"}, 512 << 10, 24 << 20},
		{[]string{"alloc", "64"}, 64 << 20, 88 << 20},
	} {
		spec := s.spec(t, c.args...)
		spec.ID += c.args[0]
		spec.Memory = 128 << 20
		b := s.start(t, spec)
		for b.line() != "ready" {
		}
		st, err := b.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v: %d KiB, %v", c.args, st.MemoryBytes>>10, st.CPUTime)
		if st.MemoryBytes < c.min || st.MemoryBytes > c.max {
			t.Errorf("%v: %d bytes, want %d to %d", c.args, st.MemoryBytes, c.min, c.max)
		}
		if st.CPUTime <= 0 {
			t.Errorf("%v: no CPU time", c.args)
		}
	}
}

// scratchIsNotMemory: three times the memory fits into the scratch directory, and
// does not count.
func (s suite) scratchIsNotMemory(t *testing.T) {
	spec := s.spec(t, "fill", "/tmp/big", "400")
	spec.Memory = 128 << 20
	spec.Containers[0].Mounts = []sandbox.Mount{{Destination: "/tmp", Scratch: 512 << 20}}
	start := time.Now()
	b := s.start(t, spec)
	b.expect("400 false 512")
	b.expect("ready")
	st, err := b.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("400 MiB in %v, %d KiB of memory", time.Since(start), st.MemoryBytes>>10)
	if st.MemoryBytes > 80<<20 {
		t.Errorf("%d MiB of memory with 400 MiB in scratch", st.MemoryBytes>>20)
	}
	if st.ScratchBytes < 400<<20 || st.ScratchBytes > 420<<20 {
		t.Errorf("scratch takes %d MiB, has 400", st.ScratchBytes>>20)
	}
}

// quota: a quarter of a CPU does about a quarter of the work, and SetCPU changes it
// while it runs.
func (s suite) quota(t *testing.T) {
	share := func(id string, milli int) float64 {
		spec := s.spec(t, "spin", "1000")
		spec.ID += id
		b := s.start(t, spec)
		b.expect("ready")
		if err := b.SetCPU(t.Context(), milli); err != nil {
			t.Fatal(err)
		}
		before, start := s.cpuTime(b), time.Now()
		if _, err := strconv.Atoi(b.line()); err != nil {
			t.Fatal(err)
		}
		return (s.cpuTime(b) - before).Seconds() / time.Since(start).Seconds()
	}
	if got := share("quarter", 250); got < 0.15 || got > 0.35 {
		t.Errorf("%.2f of a CPU with a quota of 0.25", got)
	}
	if got := share("half", 500); got < 0.35 || got > 0.62 {
		t.Errorf("%.2f of a CPU with a quota of 0.5", got)
	}
}

// weight: among spinning sandboxes, several per CPU, one whose weight was lowered gets next to
// nothing of what each other gets.
func (s suite) weight(t *testing.T) {
	spin := func(id, ms string) *box {
		spec := s.spec(t, "spin", ms)
		spec.ID += id
		b := s.start(t, spec)
		b.expect("ready")
		return b
	}
	light := spin("light", "60000")
	if err := light.SetWeight(t.Context(), 30); err != nil {
		t.Fatal(err)
	}
	var heavy []*box
	for i := range 3 * runtime.NumCPU() {
		heavy = append(heavy, spin(fmt.Sprint("heavy", i), "60000"))
	}
	used := func() (own, others time.Duration) {
		for _, b := range heavy {
			others += s.cpuTime(b)
		}
		return s.cpuTime(light), others / time.Duration(len(heavy))
	}
	light0, heavy0 := used()
	spin("clock", "1500").line()
	light1, heavy1 := used()
	if got, other := light1-light0, heavy1-heavy0; got > other/3 {
		t.Errorf("%v with a thirtieth of the weight of the others, which got %v", got, other)
	}
	if err := light.SetWeight(t.Context(), 0); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("weight 0: %v", err)
	}
}

// spare: sandboxes that leave all cores but one share that one, from their start and later, until
// they are told otherwise.
func (s suite) spare(t *testing.T) {
	cores := runtime.NumCPU()
	if cores < 2 {
		t.Skip("one core")
	}
	spec := s.spec(t, "spin", "60000")
	spec.Spare = cores - 1
	first := s.start(t, spec)
	spec.ID += "second"
	spec.Spare = 0
	second := s.start(t, spec)
	for _, b := range []*box{first, second} {
		b.expect("ready")
	}
	used := func() float64 {
		began, before := time.Now(), s.cpuTime(first)+s.cpuTime(second)
		clock := s.spec(t, "spin", "700")
		clock.ID += fmt.Sprint("clock", began.UnixNano())
		clock.Spare = cores - 1
		s.start(t, clock).line()
		return (s.cpuTime(first) + s.cpuTime(second) - before).Seconds() / time.Since(began).Seconds()
	}
	if err := second.SetSpare(t.Context(), cores-1); err != nil {
		t.Fatal(err)
	}
	if got := used(); got > 1.15 {
		t.Errorf("both used %.2f cores while they left all but one", got)
	}
	if err := first.SetSpare(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if got := used(); got < 1.2 {
		t.Errorf("both used %.2f cores when one was told that it may", got)
	}
	if err := first.SetSpare(t.Context(), -1); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("-1 cores: %v", err)
	}
}
