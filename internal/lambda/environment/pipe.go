package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readSize is how much is read at a time; a pipe holds as much.
	readSize = 64 << 10
	// drainSize bounds what is read to complete an invocation's log: code that prints faster
	// than that never completes it.
	drainSize = 4 * readSize
	// eventCost is added to the size of every event charged to the budget: a flood of empty
	// lines costs as much as one of long ones.
	eventCost = 64
)

// buffers are shared by all pipes: an idle pipe holds none.
var buffers = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

// pipe carries output from a sandbox into the environment's log stream.
type pipe struct {
	read  *os.File
	write *os.File // the sandbox's end; ours is closed when the sandbox has it
	raw   syscall.RawConn
	out   *stream
	now   func() time.Time
	rates []*Rate // each of which has to agree
	stop  chan struct{}

	mu    sync.Mutex // reading and what follows from it are one step
	split splitter
}

func newPipe(out *stream, split splitter, rates []*Rate, now func() time.Time) (*pipe, error) {
	// Not os.Pipe: only our end may be non-blocking, the other one is the function's stdout.
	var fd [2]int
	if err := unix.Pipe2(fd[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make output pipe: %w", err)
	}
	if err := unix.SetNonblock(fd[0], true); err != nil {
		return nil, errors.Join(fmt.Errorf("make output pipe: %w", err), unix.Close(fd[0]), unix.Close(fd[1]))
	}
	read, write := os.NewFile(uintptr(fd[0]), "output"), os.NewFile(uintptr(fd[1]), "output")
	raw, err := read.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make output pipe: %w", err), read.Close(), write.Close())
	}
	return &pipe{read: read, write: write, raw: raw, out: out, now: now, rates: rates, stop: make(chan struct{}), split: split}, nil
}

// pump reads until the sandbox has closed its end or the pipe is closed. When the function
// prints faster than its rate, pump reads slower, and the function waits in its write.
func (p *pipe) pump(ctx context.Context) {
	for {
		var cost int
		var rerr error
		err := p.raw.Read(func(fd uintptr) bool {
			cost, rerr = p.readOnce(ctx, int(fd))
			return !errors.Is(rerr, unix.EAGAIN)
		})
		if err != nil || rerr != nil {
			return
		}
		if wait := p.spend(cost); wait > 0 {
			p.out.slowed()
			select {
			case <-time.After(wait):
			case <-p.stop:
				return
			}
		}
	}
}

var errEnd = errors.New("end of output")

// readOnce reads what is there, at most readSize, and returns what it costs.
func (p *pipe) readOnce(ctx context.Context, fd int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := unix.Read(fd, *buf)
	switch {
	case errors.Is(err, unix.EINTR):
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, errEnd
	}
	events := p.split.split(p.now(), (*buf)[:n])
	p.out.append(ctx, events...)
	return n + eventCost*len(events), nil
}

// catchUp moves everything that has been written so far into the stream, but for the end of
// an unfinished line.
func (p *pipe) catchUp(ctx context.Context) {
	_ = p.raw.Control(func(fd uintptr) {
		for total := 0; total < drainSize; {
			n, err := p.readOnce(ctx, int(fd))
			if err != nil {
				return
			}
			total += n
			p.spend(n)
		}
	})
}

// drain is catchUp, and the unfinished line becomes an event of its own.
func (p *pipe) drain(ctx context.Context) {
	p.catchUp(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.append(ctx, p.split.flush(p.now())...)
}

// spend takes n bytes from every rate and says how long to wait.
func (p *pipe) spend(n int) (wait time.Duration) {
	now := time.Now()
	for _, r := range p.rates {
		wait = max(wait, r.spend(now, n))
	}
	return wait
}

// close ends the pump; what was not read is lost.
func (p *pipe) close() {
	close(p.stop)
	_ = p.read.Close()
	_ = p.write.Close()
}

// Rate is a token bucket for the output of one environment, or of all.
type Rate struct {
	perSecond, burst float64

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

// NewRate returns a bucket that refills by so many bytes a second and holds those of two.
func NewRate(perSecond int) *Rate {
	r := &Rate{perSecond: float64(perSecond), burst: 2 * float64(perSecond)}
	r.tokens = r.burst
	return r
}

// spend takes n tokens and returns how long to wait until the bucket is no longer in debt.
func (r *Rate) spend(now time.Time, n int) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.last.IsZero() {
		r.tokens = min(r.burst, r.tokens+now.Sub(r.last).Seconds()*r.perSecond)
	}
	r.last = now
	r.tokens -= float64(n)
	if r.tokens >= 0 {
		return 0
	}
	return time.Duration(-r.tokens / r.perSecond * float64(time.Second))
}
