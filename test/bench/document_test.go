package bench

import (
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The targets that docs/performance.md judges by.
const (
	coldTarget  = 1.3 // of the bare sandbox
	frontTarget = 300 * time.Microsecond
	readyTarget = time.Second
	rssTarget   = 150 << 20
)

// results are everything that was measured.
type results struct {
	samples []*sample
	front   front
	crowd   crowded
	events  []accepted
	many    numerous
	ledger  []time.Duration
	took    time.Duration
}

// percentile is the smallest value that p per cent of the values do not exceed.
func percentile(values []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

func (r *results) document(t *testing.T) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Performance

Written by %[1]smake bench%[1]s, which took %[2]s. %[3]s

A machine that does other things too is noisy; the ratios, taken turn by turn in the same run, are
steadier than the times, and p99 says more about the machine than about Lambent.

## Invocations

`, "`", r.took.Round(time.Second), where(t))
	r.table(&b)
	fmt.Fprintf(&b, `
- **Lambent**: an Invoke over HTTP as its client sees it, one at a time over one kept connection, from
  the first byte sent to the last byte read. The request was signed before; the server verifies,
  authorises, invokes, writes the log and answers.
- **cold**: the first invocation after the function was changed, so in a new environment, on the plain
  path (no pool), at %[1]d MB. The host's caches are warm. **warm-hot**: back to back, at %[2]d MB.
  **warm-thawed**: after at least %[3]d ms without a request, so the environment was frozen; at %[2]d MB.
- **process**: the same interpreter and runtime client, chrooted into the same image, as a plain process
  that has the same exchange with a Runtime API over loopback; no front end, no sandbox, no limits. Cold
  is from starting the process to its first answer.
- **runsc**: bare gVisor on the same image without a network, printing one line, from nothing to that
  line. The interpreter runs one expression; for %[4]sprovided.al2023%[4]s the function's own binary says that there
  is no Runtime API.
- The functions print one line and return a small object.

## Targets

| target | measured | |
|---|---:|---|
`, coldMemory, warmMemory, thawPause/time.Millisecond, "`")
	r.targets(&b)
	r.notes(&b)
	b.WriteString(eventsNote(r.events))
	b.WriteString(r.manyNote())
	return b.String()
}

func (r *results) table(b *strings.Builder) {
	b.WriteString("| | runtime | n | Lambent p50 ms | p99 ms | process p50 ms | ratio to process | runsc p50 ms | ratio to runsc |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, s := range r.samples {
		p50, bare := percentile(s.lambent, 50), percentile(s.bare, 50)
		fmt.Fprintf(b, "| %s | %s | %d | %s | %s | %s | %.2f |", s.name, s.runtime, len(s.lambent),
			ms(p50), ms(percentile(s.lambent, 99)), ms(bare), float64(p50)/float64(bare))
		if len(s.runsc) == 0 {
			b.WriteString(" | |\n")
			continue
		}
		runsc := percentile(s.runsc, 50)
		fmt.Fprintf(b, " %s | %.2f |\n", ms(runsc), float64(p50)/float64(runsc))
	}
}

func (r *results) targets(b *strings.Builder) {
	row := func(what, measured string, met bool) {
		verdict := "not met"
		if met {
			verdict = "met"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", what, measured, verdict)
	}
	for _, s := range r.samples {
		if len(s.runsc) > 0 {
			ratio := float64(percentile(s.lambent, 50)) / float64(percentile(s.runsc, 50))
			row(fmt.Sprintf("cold %s, to bare runsc: at most %.1f", s.runtime, coldTarget), fmt.Sprintf("%.2f", ratio), ratio <= coldTarget)
		}
	}
	added := r.front.overhead()
	row(fmt.Sprintf("front end's overhead on warm-hot, p50: at most %s ms", ms(frontTarget)), ms(added)+" ms", added <= frontTarget)
	ready := slices.Max(r.crowd.ready)
	row(fmt.Sprintf("ready with %d functions: at most %s", functions, readyTarget), ms(ready)+" ms", ready <= readyTarget)
	most := r.events[len(r.events)-1]
	row(fmt.Sprintf("events accepted durably from %d clients: at least %d a second", most.clients, eventsTarget), fmt.Sprintf("%.0f", most.rate), most.rate >= eventsTarget)
	list := percentile(r.many.list, 50)
	row(fmt.Sprintf("ListFunctions, a page of 50 of %d, p50: at most %s ms", many, ms(listTarget)), ms(list)+" ms", list <= listTarget)
	row(fmt.Sprintf("GetFunction from %d clients, %d functions: at least %d a second", manyClients, many, getTarget), fmt.Sprintf("%.0f", r.many.get), r.many.get >= getTarget)
	row(fmt.Sprintf("resident with %d functions: at most %d MB", many, manyTarget>>20), fmt.Sprintf("%d MB", r.many.rss>>20), r.many.rss <= manyTarget)
	row(fmt.Sprintf("the ledger's part of a warm invocation: at most %d %%", ledgerTarget), fmt.Sprintf("%.1f %%", r.ledgerShare()), r.ledgerShare() <= ledgerTarget)
	row(fmt.Sprintf("idle with %d functions: at most %d MB", functions, rssTarget>>20), fmt.Sprintf("%d MB", r.crowd.rss>>20), r.crowd.rss <= rssTarget)
}

func (r *results) notes(b *strings.Builder) {
	fmt.Fprintf(b, `
- The front end's overhead is an Invoke as its client sees it, less the Duration of its own REPORT line, less
  an empty exchange with the same server (/_lambent/health): what the server does before and after the
  environment's own exchange. On provided.al2023, n %d, %s after the request before: late enough for the
  runtime to be asking, too early for a frozen environment or a sleeping processor. That is p50 %s ms less the Duration (p99 %s), of
  which the empty exchange is %s ms. Back to back p50 is %s ms less the Duration, since the
  next request is there before the runtime has asked for it.
- Ready is from exec to the ready line, the slowest of %d restarts. The %d functions were created in %s
  through the API by 16 clients at a time.
- Idle is the resident memory of the server and its helper process %s after it became ready; %d MB of it is
  anonymous, the rest is the program's own pages.
`, len(r.front.added), frontPause, ms(percentile(r.front.added, 50)), ms(percentile(r.front.added, 99)),
		ms(percentile(r.front.empty, 50)), ms(percentile(r.front.hot, 50)), len(r.crowd.ready), functions, r.crowd.created.Round(100*time.Millisecond), idleSettling, r.crowd.anon>>20)
}

// where says when, on what and of which commit this was measured.
func where(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	commit, err := exec.Command("git", "-c", "safe.directory=*", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		commit = []byte("unknown") // a source archive
	}
	return fmt.Sprintf("%s, commit %s, Linux %s, %s, %d cores.", time.Now().UTC().Format(time.DateOnly),
		strings.TrimSpace(string(commit)), unix.ByteSliceToString(u.Release[:]), runtime.GOARCH, runtime.NumCPU())
}
