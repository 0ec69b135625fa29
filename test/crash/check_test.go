package crash

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/regiontest"
)

// list gives all functions by name.
func list(t *testing.T, r *regiontest.Region) map[string]types.FunctionConfiguration {
	t.Helper()
	out := map[string]types.FunctionConfiguration{}
	pages := lambda.NewListFunctionsPaginator(r.Lambda(), &lambda.ListFunctionsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Functions {
			out[*f.FunctionName] = f
		}
	}
	return out
}

// checkFunctions holds the functions against what the clients know, and runs one of each client's.
func checkFunctions(t *testing.T, r *regiontest.Region, all []*client) {
	t.Helper()
	there := list(t, r)
	delete(there, syncName)
	delete(there, eventName)
	exist, gone, open := 0, 0, 0
	for _, c := range all {
		for name, m := range c.functions {
			f, ok := there[name]
			delete(there, name)
			switch {
			case m.must && !ok:
				t.Errorf("%s was acknowledged and is gone", name)
			case !m.must && !m.may && ok:
				t.Errorf("the deletion of %s was acknowledged, and it is there", name)
			case ok && !slices.Contains(m.shas, *f.CodeSha256):
				t.Errorf("%s has code %s, not of %s", name, *f.CodeSha256, m.shas)
			}
			switch {
			case m.must:
				exist++
			case m.may:
				open++
			default:
				gone++
			}
		}
	}
	for name := range there {
		t.Errorf("nobody has created %s", name)
	}
	t.Logf("acknowledged: %d functions exist, %d are deleted; %d had no answer", exist, gone, open)
	if exist == 0 || gone == 0 {
		t.Error("the clients did not do enough for a test")
	}
	api := r.Lambda()
	for _, c := range all {
		if len(c.names) == 0 {
			continue
		}
		m := c.functions[c.names[0]]
		w := lambda.NewFunctionUpdatedV2Waiter(api, func(o *lambda.FunctionUpdatedV2WaiterOptions) { o.MinDelay = 100 * time.Millisecond })
		if err := w.Wait(context.Background(), &lambda.GetFunctionInput{FunctionName: &c.names[0]}, time.Minute); err != nil {
			t.Errorf("%s: %v", c.names[0], err)
		} else if got := invoke(t, api, c.names[0], "{}"); !slices.Contains(m.nonce, strings.Trim(got.body, `"`)) {
			t.Errorf("%s answers %+v, want one of %q", c.names[0], got, m.nonce)
		}
	}
}

// lines is what the log has of a function.
type lines struct {
	ids      map[string]int    // how often an id was said
	reports  map[string]int    // REPORT lines by request id
	requests map[string]string // the id that a request said
	billed   map[string]int64  // milliseconds by request, of its last REPORT
}

var (
	startLine  = regexp.MustCompile(`^START RequestId: (\S+) `)
	reportLine = regexp.MustCompile(`^REPORT RequestId: (\S+)\t`)
)

// read reads a function's log. Between a START and the next one a stream is of one request.
func read(t *testing.T, r *regiontest.Region, name string) lines {
	t.Helper()
	l := lines{map[string]int{}, map[string]int{}, map[string]string{}, map[string]int64{}}
	current := map[string]string{} // request by stream
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(cloudwatchlogs.NewFromConfig(r.Config()),
		&cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("/aws/lambda/" + name)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			if m := startLine.FindStringSubmatch(*e.Message); m != nil {
				current[*e.LogStreamName] = m[1]
			} else if m := reportLine.FindStringSubmatch(*e.Message); m != nil {
				l.reports[m[1]]++
				if _, after, ok := strings.Cut(*e.Message, "Billed Duration: "); ok {
					ms, _, _ := strings.Cut(after, " ")
					l.billed[m[1]], _ = strconv.ParseInt(ms, 10, 64)
				}
			} else if id, ok := strings.CutPrefix(strings.TrimSpace(*e.Message), said); ok {
				l.ids[id]++
				l.requests[current[*e.LogStreamName]] = id
			}
		}
	}
	return l
}

// waitForEvents waits until every acknowledged event has run, and gives the logs.
func waitForEvents(t *testing.T, r *regiontest.Region, all []*client) map[string]lines {
	t.Helper()
	began := time.Now()
	var events lines
	missing := func() (ids []string) {
		for _, c := range all {
			for _, e := range c.events {
				if e.answered && events.ids[e.id] == 0 {
					ids = append(ids, e.id)
				}
			}
		}
		return ids
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for events = read(t, r, eventName); len(missing()) > 0; events = read(t, r, eventName) {
		if time.Since(began) > 2*time.Minute {
			t.Errorf("acknowledged events that have not run: %q", missing())
			break
		}
		<-tick.C
	}
	t.Logf("all events had run %s after the last restart", time.Since(began).Round(time.Second))
	return map[string]lines{syncName: read(t, r, syncName), eventName: events}
}

// checkInvocations holds the logs against what the clients sent.
func checkInvocations(t *testing.T, logs map[string]lines, all []*client) {
	t.Helper()
	syncs, events := logs[syncName], logs[eventName]
	sent := map[string]map[string]bool{syncName: {}, eventName: {}}
	answered, unanswered, ran := 0, 0, 0
	for _, c := range all {
		for _, s := range c.syncs {
			sent[syncName][s.id] = true
			switch n := syncs.ids[s.id]; {
			case s.answered && n != 1, n > 1:
				t.Errorf("invocation %s (%s) ran %d times", s.id, s.request, n)
			}
			if !s.answered {
				unanswered++
				continue
			}
			answered++
			if n := syncs.reports[s.request]; n != 1 {
				t.Errorf("invocation %s (%s) was answered and has %d REPORT lines", s.id, s.request, n)
			}
			if got := syncs.requests[s.request]; got != s.id {
				t.Errorf("request %s said %q, not %s", s.request, got, s.id)
			}
		}
		for _, e := range c.events {
			sent[eventName][e.id] = true
			ran += min(1, events.ids[e.id])
		}
	}
	for name, l := range logs {
		for id := range l.ids {
			if !sent[name][id] {
				t.Errorf("nobody has sent %s to %s", id, name)
			}
		}
	}
	twice := 0
	for _, n := range events.ids {
		twice += n - 1
	}
	t.Logf("sync: %d answered, %d without an answer; events: %d ran, %d runs were repeated", answered, unanswered, ran, twice)
}

// checkOrphans sees that the state directory has nothing that nobody needs.
func checkOrphans(t *testing.T, r *regiontest.Region) {
	t.Helper()
	var orphans []string
	look := func() []string {
		need := needed(t, r)
		orphans = orphans[:0]
		err := filepath.WalkDir(r.State, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == r.State {
				return nil
			}
			name, _ := filepath.Rel(r.State, path)
			if known(name, need) {
				return nil
			}
			orphans = append(orphans, name)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for name := range need {
			if !need[name] {
				orphans = append(orphans, "missing: "+name)
			}
		}
		return orphans
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); len(look()) > 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Errorf("the state directory has what nobody needs:\n%s", strings.Join(orphans, "\n"))
			return
		}
	}
}

// needed are the packages and the images of the functions that exist, by their files; found ones
// become true.
func needed(t *testing.T, r *regiontest.Region) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, f := range list(t, r) {
		sum, err := base64.StdEncoding.DecodeString(*f.CodeSha256)
		if err != nil {
			t.Fatal(err)
		}
		h := hex.EncodeToString(sum)
		out["blobs/"+h[:2]+"/"+h] = false
		out["code/"+h+"-1.erofs"] = false
	}
	return out
}

// kept are the files of a state directory that is at rest, but for packages.
var kept = regexp.MustCompile(`^(format|lock|instance|account|credentials|config|metrics-token|ledger-id|ballast` +
	`|keys(/region(\.[a-z]+)?)?` +
	`|etcd(/.*)?` +
	`|blobs(/[0-9a-f]{2})?|code|images` +
	`|images/[0-9a-f]{64}(-[-0-9a-z]+\.erofs|\.json)` +
	`|(logs|ledger)(/[0-9a-f]+\.[a-z]+)?` +
	`|run(/lambent-net-[0-9a-f]{8}|/[0-9a-f]{8}(/[.]runtime(/[a-z_-]+)?)?)?` +
	`|runsc(/[0-9a-f]{64}(/runsc)?)?)$`)

func known(name string, need map[string]bool) bool {
	if _, ok := need[name]; ok {
		need[name] = true
		return true
	}
	return kept.MatchString(name)
}
