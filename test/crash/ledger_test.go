package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"lambent.dev/lambent/test/regiontest"
)

// record is what ListInvocations says of an invocation.
type record struct {
	RequestID, Function, Outcome string
	BilledMs                     int64
}

const aborted = "aborted"

// callRegion calls an operation of the region's own service.
func callRegion(t *testing.T, r *regiontest.Region, operation string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, r.URL+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "Lambent."+operation)
	cfg := r.Config()
	key, err := cfg.Credentials.Retrieve(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(context.Background(), key, req, hex.EncodeToString(sum[:]), "lambent", cfg.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", operation, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}

// ledger reads all records of a function.
func ledger(t *testing.T, r *regiontest.Region, function string) (out []record) {
	t.Helper()
	for token, first := "", true; first || token != ""; first = false {
		var page struct {
			Invocations []record
			NextToken   string
		}
		callRegion(t, r, "ListInvocations", map[string]any{"Function": function, "NextToken": token}, &page)
		out, token = append(out, page.Invocations...), page.NextToken
	}
	return out
}

// checkLedger holds the ledger against what the clients sent and what the log says.
func checkLedger(t *testing.T, r *regiontest.Region, logs map[string]lines, all []*client) {
	t.Helper()
	for name, answers := range map[string]func(*client) []call{
		syncName:  func(c *client) []call { return c.syncs },
		eventName: func(c *client) []call { return c.events },
	} {
		entries := ledger(t, r, name)
		by := map[string][]record{}
		cut, billed := 0, int64(0)
		for _, e := range entries {
			by[e.RequestID] = append(by[e.RequestID], e)
			billed += e.BilledMs
			if e.Outcome == aborted {
				cut++
			}
			if e.Outcome == aborted && e.BilledMs != 0 {
				t.Errorf("%s: %+v was charged", name, e)
			}
		}
		sent, known, open := map[string]bool{}, map[string]bool{}, 0
		for _, c := range all {
			for _, s := range answers(c) {
				sent[s.id] = true
				if !s.answered {
					open++
					continue
				}
				known[s.request] = true
				if n := len(by[s.request]); n == 0 || name == syncName && n != 1 {
					t.Errorf("%s: %s (%s) was answered and has %d records", name, s.id, s.request, n)
				} else if e := by[s.request][n-1]; e.Outcome != "success" {
					t.Errorf("%s: %s (%s) was answered and has %+v", name, s.id, s.request, e)
				} else if ms := logs[name].billed[s.request]; name == syncName && ms != e.BilledMs {
					t.Errorf("%s: REPORT of %s says %d ms, the ledger %d", name, s.request, ms, e.BilledMs)
				}
			}
		}
		strangers := 0
		for request, of := range by {
			id, spoke := logs[name].requests[request]
			switch {
			case known[request], spoke && sent[id]:
			case spoke:
				t.Errorf("%s: nobody has sent %s, of which is %+v", name, id, of)
			case of[0].Outcome != aborted:
				t.Errorf("%s: nobody has sent %+v", name, of)
			default: // cut short before it said a word
				strangers++
			}
			if name == syncName && len(of) != 1 {
				t.Errorf("%s: %d records of %s", name, len(of), request)
			}
		}
		if strangers > open {
			t.Errorf("%s: %d records of requests that nobody knows; %d requests had no answer", name, strangers, open)
		}
		t.Logf("%s: %d records, %d aborted, %d ms charged", name, len(entries), cut, billed)
		checkUsage(t, r, name, int64(len(entries)-cut), int64(cut), billed)
	}
}

// checkUsage sees that the sums are those of the records, each counted once.
func checkUsage(t *testing.T, r *regiontest.Region, function string, requests, cut, billed int64) {
	t.Helper()
	var usage struct {
		Lines []struct {
			Function                    string
			Requests, Aborted, BilledMs int64
		}
	}
	callRegion(t, r, "GetUsage", map[string]any{"By": []string{"function"}}, &usage)
	for _, l := range usage.Lines {
		if l.Function == function {
			if l.Requests != requests || l.Aborted != cut || l.BilledMs != billed {
				t.Errorf("usage says %+v; the records are %d requests, %d aborted, %d ms", l, requests, cut, billed)
			}
			return
		}
	}
	t.Errorf("no usage of %s in %+v", function, usage)
}
