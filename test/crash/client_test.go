package crash

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"lambent.dev/lambent/test/regiontest"
)

// Functions that all clients invoke. Each says the id that it was invoked with.
const (
	syncName  = "sync"
	eventName = "event"
	said      = "id="
	sayer     = `
def handler(e, c):
    print("` + said + `" + e["id"])
    return e["id"]
`
)

// mine is what a client knows of a function that it alone changes.
type mine struct {
	must  bool     // it was acknowledged to exist: it does
	may   bool     // it may exist: nothing was answered
	shas  []string // the code that it may have
	nonce []string // what that code answers, in the same order
}

// call is an invocation that was sent.
type call struct {
	id       string
	request  string // the request id of its answer
	answered bool
}

// client is one of those who work while the server dies. Its own goroutine alone touches it until
// it has ended.
type client struct {
	n      int
	lambda *lambda.Client
	role   string
	rand   *rand.Rand
	gate   *gate
	acks   *atomic.Int64

	functions     map[string]*mine
	names         []string // of those that must exist
	syncs, events []call
	faults        []string // what must never be
	unsure        int      // changes without an answer
	refused       map[string]int
}

// gate keeps clients from knocking at a server that is down.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) set(up bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !up {
			g.open = make(chan struct{})
		}
	default:
		if up {
			close(g.open)
		}
	}
}

// wait reports whether the server is up before ctx ends.
func (g *gate) wait(ctx context.Context) bool {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func newClient(n int, r *regiontest.Region, role string, g *gate, acks *atomic.Int64) *client {
	once := func(o *lambda.Options) { o.Retryer = aws.NopRetryer{} } // an attempt is a request
	return &client{
		n: n, lambda: lambda.NewFromConfig(r.Config(), once), role: role, gate: g, acks: acks,
		rand: rand.New(rand.NewPCG(uint64(n), 5)), functions: map[string]*mine{}, refused: map[string]int{},
	}
}

// run works until ctx ends.
func (c *client) run(ctx context.Context) {
	for i := 0; c.gate.wait(ctx); i++ {
		name := fmt.Sprintf("c%d-%d", c.n, i)
		switch dice := c.rand.IntN(100); {
		case dice < 12 && len(c.names) < 12:
			c.create(name)
		case dice < 24 && len(c.names) > 0:
			c.update(name)
		case dice < 32 && len(c.names) > 0:
			c.remove()
		case dice < 70:
			c.sync(name)
		default:
			c.event(name)
		}
	}
}

// attempt bounds a request; a server that is killed ends it much earlier.
func attempt() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

// outcome is what a client may conclude from an error.
type outcome int

const (
	acknowledged outcome = iota
	refused              // nothing has changed
	unknown
)

func (c *client) judge(err error) outcome {
	var api smithy.APIError
	var resp *smithyhttp.ResponseError
	switch {
	case err == nil:
		c.acks.Add(1)
		return acknowledged
	case errors.As(err, &resp) && errors.As(err, &api) && resp.HTTPStatusCode() < 500:
		c.refused[api.ErrorCode()]++
		return refused
	}
	c.unsure++
	return unknown
}

// source is code that answers a word, and its hash.
func (c *client) source(nonce string) (zip []byte, sha string) {
	zip = regiontest.Zip(discard{}, source(fmt.Sprintf("def handler(e, c): return %q\n", nonce)))
	sum := sha256.Sum256(zip)
	return zip, base64.StdEncoding.EncodeToString(sum[:])
}

// discard is a testing.TB for what cannot fail.
type discard struct{ testing.TB }

func (discard) Helper() {}

func (c *client) create(name string) {
	zip, sha := c.source(name)
	in := python(name, c.role)
	in.Code = &types.FunctionCode{ZipFile: zip}
	ctx, cancel := attempt()
	defer cancel()
	out, err := c.lambda.CreateFunction(ctx, &in)
	m := &mine{shas: []string{sha}, nonce: []string{name}}
	switch c.judge(err) {
	case acknowledged:
		m.must = true
		c.names = append(c.names, name)
		if aws.ToString(out.CodeSha256) != sha {
			c.fault("%s was created with code %s, not %s", name, *out.CodeSha256, sha)
		}
	case unknown:
		m.may = true
	case refused:
		c.fault("create %s: %v", name, err)
		return
	}
	c.functions[name] = m
}

func (c *client) update(nonce string) {
	name := c.names[c.rand.IntN(len(c.names))]
	m := c.functions[name]
	zip, sha := c.source(nonce)
	ctx, cancel := attempt()
	defer cancel()
	out, err := c.lambda.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: &name, ZipFile: zip})
	var busy *types.ResourceConflictException
	switch c.judge(err) {
	case acknowledged:
		m.shas, m.nonce = []string{sha}, []string{nonce}
		if aws.ToString(out.CodeSha256) != sha {
			c.fault("%s was updated with code %s, not %s", name, *out.CodeSha256, sha)
		}
	case unknown:
		m.shas, m.nonce = append(m.shas, sha), append(m.nonce, nonce)
	case refused:
		if !errors.As(err, &busy) { // it is Pending, or its last update is being made ready
			c.fault("update %s, which was acknowledged: %v", name, err)
		}
	}
}

func (c *client) remove() {
	i := c.rand.IntN(len(c.names))
	name := c.names[i]
	ctx, cancel := attempt()
	defer cancel()
	_, err := c.lambda.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &name})
	m := c.functions[name]
	switch c.judge(err) {
	case acknowledged:
		m.must, m.may = false, false
	case unknown:
		m.must, m.may = false, true
	case refused:
		var busy *types.ResourceConflictException
		if !errors.As(err, &busy) {
			c.fault("delete %s, which was acknowledged: %v", name, err)
		}
		return
	}
	c.names = append(c.names[:i], c.names[i+1:]...)
}

func (c *client) sync(id string) {
	ctx, cancel := attempt()
	defer cancel()
	sent := call{id: id}
	out, err := c.lambda.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(syncName), Payload: fmt.Appendf(nil, `{"id":%q}`, id)})
	switch c.judge(err) {
	case acknowledged:
		sent.answered = true
		sent.request, _ = awsmiddleware.GetRequestIDMetadata(out.ResultMetadata)
		if out.FunctionError != nil || string(out.Payload) != fmt.Sprintf("%q", id) {
			c.fault("invocation %s (%s) answered %s %s", id, sent.request, aws.ToString(out.FunctionError), out.Payload)
		}
	case refused:
		return
	}
	c.syncs = append(c.syncs, sent)
}

// event sends an event; some are too large for the queue's own store.
func (c *client) event(id string) {
	padding := ""
	if c.rand.IntN(10) == 0 {
		padding = strings.Repeat("x", 100_000)
	}
	ctx, cancel := attempt()
	defer cancel()
	sent := call{id: id}
	out, err := c.lambda.Invoke(ctx, &lambda.InvokeInput{
		FunctionName: aws.String(eventName), InvocationType: types.InvocationTypeEvent, Payload: fmt.Appendf(nil, `{"id":%q,"padding":%q}`, id, padding),
	})
	switch c.judge(err) {
	case acknowledged:
		sent.answered = true
		sent.request, _ = awsmiddleware.GetRequestIDMetadata(out.ResultMetadata)
	case refused:
		return
	}
	c.events = append(c.events, sent)
}

func (c *client) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}
