package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// TestBurst: a burst of events to a slow function delays the events of no other, and what is left of it
// goes with the function: one made again under the same name sees none of it. The burst of 10,000 is
// package async's.
func TestBurst(t *testing.T) {
	r := start(t)
	role := r.Role("burst")
	create := func(name, body string) {
		r.Create(lambda.CreateFunctionInput{
			FunctionName: &name, Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), MemorySize: aws.Int32(128), Timeout: aws.Int32(120),
		}, map[string]string{"app.py": "import time\ndef handler(e, c):\n    " + body + "\n"})
	}
	create("slow", "time.sleep(10)")
	create("fast", "print('ran')")
	r.event("fast", "{}")
	waitFor(t, time.Minute, "the other function ran", func() bool { return r.ran("fast") == 1 })
	const burst = 300
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() {
			for range burst / 10 {
				r.event("slow", "{}")
			}
		})
	}
	clients.Wait()
	for i := range 3 {
		r.event("fast", "{}")
		waitFor(t, 20*time.Second, fmt.Sprintf("event %d of the other function ran", i), func() bool { return r.ran("fast") == i+2 })
	}
	if _, err := r.Lambda().DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("slow")}); err != nil {
		t.Fatal(err)
	}
	create("slow", "print('ran', e['mark'])")
	r.event("slow", `{"mark":1}`)
	waitFor(t, time.Minute, "the function made again ran", func() bool { return r.ran("slow") > 0 })
	<-time.After(3 * time.Second) // for events of before, if there were any
	if n := r.ran("slow"); n != 1 {
		t.Errorf("the function made again ran %d times for one event", n)
	}
}
