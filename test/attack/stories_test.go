package attack

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
)

// A story is an attack that takes more than one step, or that its caller judges.
type story struct {
	name    string
	success string // what it would be
	timeout int32
	tell    func(t *testing.T, r *region, do func(name string) answer) (held bool, got any)
}

// forgedID is a request that there never was.
const forgedID = "11111111-2222-3333-4444-555555555555"

func TestStories(t *testing.T) {
	r := start(t)
	r.python("bystander", "run", stories, 1769, 20, nil)
	for _, s := range append(answers, between...) {
		t.Run(s.name, func(t *testing.T) {
			r := r.with(t)
			name := storyName(s.name)
			r.python(name, "run", stories, 1769, s.timeout, nil)
			held, got := s.tell(t, r, func(do string) answer {
				return r.invoke(name, args{"do": do, "id": forgedID, "seconds": 3})
			})
			if !held {
				t.Errorf("%s: %v", s.success, got)
			}
			// Whatever it did, its neighbour works.
			if got := r.invoke("bystander", args{"do": "kept"}); got.body != "[]" || got.fault != "" {
				t.Errorf("the bystander: %+v", got)
			}
		})
	}
}

func storyName(name string) string { return strings.ReplaceAll(name, " ", "-") }

// timedOut, tooLarge: what the caller must see.
func timedOut(a answer) bool {
	return a.fault == "Unhandled" && strings.Contains(a.body, "Task timed out") && !strings.Contains(a.body, "forged")
}

func tooLarge(a answer) bool {
	return a.fault == "Unhandled" && strings.Contains(a.body, "Function.ResponseSizeTooLarge") && len(a.body) < 1000
}

// answers are forged and malformed answers to the Runtime API.
var answers = []story{
	{"an answer before Next", "it is taken", 10, func(_ *testing.T, _ *region, do func(string) answer) (bool, any) {
		got := do("before")
		return got.body == "400", got
	}},
	{"an answer to a used request", "it is taken", 10, func(_ *testing.T, _ *region, do func(string) answer) (bool, any) {
		first, second := do("used"), do("used") // in one environment, or the second has nothing to try
		return first.body == "[]" && second.body == "[400]", []answer{first, second}
	}},
	{"two answers to one request", "the caller sees the second", 10, func(_ *testing.T, _ *region, do func(string) answer) (bool, any) {
		got := do("twice")
		next := do("kept") // by whatever environment there is now
		return got.body == `"first"` && got.fault == "" && next.fault == "" && !strings.Contains(next.body, `202,202`), []answer{got, next}
	}},
	{"an answer after the deadline", "the caller sees it, or it is there at the next request", 2, func(_ *testing.T, r *region, do func(string) answer) (bool, any) {
		before := sandboxes(r.State)
		got := do("late")
		<-time.After(time.Second) // it would answer 0.3 s after the deadline
		left := sandboxes(r.State) - before
		next := do("look")
		return timedOut(got) && !strings.Contains(next.body, "outlived") && next.fault == "" && left <= 0, []any{got, next, left}
	}},
	{"a slow body", "it holds the caller longer than the time-out", 2, func(_ *testing.T, _ *region, do func(string) answer) (bool, any) {
		began := time.Now()
		got := do("slow")
		return timedOut(got) && time.Since(began) < 6*time.Second, got
	}},
	{"an oversize body", "the caller gets it", 10, func(_ *testing.T, _ *region, do func(string) answer) (bool, any) {
		got := do("huge")
		return tooLarge(got), got.fault
	}},
	{"a length without end", "the server waits for it, or makes room for it", 10, func(_ *testing.T, _ *region, do func(string) answer) (bool, any) {
		got := do("endless")
		return tooLarge(got), got.fault
	}},
}

// between are attempts to be there when one should not, and to speak in another's name.
var between = []story{
	{"processes between invocations", "they go on", 10, func(t *testing.T, r *region, do func(string) answer) (bool, any) {
		type state struct{ Beats, PID int }
		first := want[state](t, do("outlive"))
		<-time.After(3 * time.Second)
		second := want[state](t, do("outlive"))
		if first.PID != second.PID || first.Beats < 10 {
			t.Errorf("another environment, or nothing beats: %+v, %+v", first, second)
		}
		return second.Beats < first.Beats+150, []state{first, second} // of 600 in three seconds
	}},
	{"leftovers for another function", "its files or processes are there", 10, func(t *testing.T, r *region, do func(string) answer) (bool, any) {
		if left := do("litter"); !strings.Contains(left.body, "left-behind") {
			t.Errorf("it leaves nothing: %+v", left)
		}
		type state struct {
			Tmp, Shm  []string
			Processes int
		}
		other := want[state](t, r.invoke("bystander", args{"do": "look"}))
		return len(other.Tmp)+len(other.Shm) == 0 && other.Processes <= 2, other
	}},
	{"forged log lines", "the platform's own lines say what it printed", 10, func(t *testing.T, r *region, do func(string) answer) (bool, any) {
		got := do("forge_lines")
		if !strings.Contains(got.log, "Billed Duration: 1 ms") {
			t.Fatalf("it printed nothing: %s", got.log)
		}
		own := events(t, r, storyName("forged log lines"))
		end, report := own[len(own)-2], own[len(own)-1]
		honest := strings.HasPrefix(report, "REPORT RequestId: ") && strings.Contains(report, "Memory Size: 1769 MB") && strings.HasSuffix(got.log, report) && strings.HasPrefix(end, "END RequestId: ")
		others := slices.ContainsFunc(events(t, r, "bystander"), func(m string) bool { return strings.Contains(m, forgedID) })
		return honest && !others, own
	}},
	{"a flood of output", "all of it is taken", 10, func(t *testing.T, r *region, do func(string) answer) (bool, any) {
		n := want[int](t, do("flood"))
		if n < 1<<20 {
			t.Errorf("%d bytes are no flood", n)
		}
		return n < 48<<20, n // 8 MiB at once, 4 MiB in a second; the pipes hold some
	}},
}

// events are the messages in a function's log.
func events(t *testing.T, r *region, function string) (messages []string) {
	t.Helper()
	out, err := cloudwatchlogs.NewFromConfig(r.Config()).FilterLogEvents(context.Background(), &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: aws.String("/aws/lambda/" + function),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Events) < 2 {
		t.Fatalf("%s has no log", function)
	}
	for _, e := range out.Events {
		messages = append(messages, *e.Message)
	}
	return messages
}

// sandboxes counts the sandbox processes that serve a state directory.
func sandboxes(state string) (n int) {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if args, _ := os.ReadFile(p); strings.Contains(string(args), "\x00runsc-sandbox\x00") && strings.Contains(string(args), state) {
			n++
		}
	}
	return n
}
