package environment

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lambent.dev/lambent/internal/lambda/function"
)

// scales is a workload that is weighed.
type scales struct {
	Workload
	weights []int
}

func (s *scales) SetWeight(_ context.Context, thousandths int) error {
	s.weights = append(s.weights, thousandths)
	return nil
}

// TestWeigh: at 1769 MB an environment may use one core. Every step is some time in which it
// used some, and the weights that were set by then.
func TestWeigh(t *testing.T) {
	const amid, between = false, true
	type step struct {
		took, used time.Duration
		between    bool
		want       []int
	}
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for name, steps := range map[string][]step{
		"light":                               {{ms(100), ms(24), between, []int{1000}}},
		"light, then heavy":                   {{ms(100), ms(24), between, []int{1000}}, {ms(100), ms(50), amid, []int{1000, 31}}},
		"heavy between invocations too":       {{ms(100), 0, between, []int{1000}}, {ms(100), ms(50), between, []int{1000, 31}}},
		"middling stays ahead":                {{ms(100), 0, between, []int{1000}}, {ms(100), ms(49), amid, []int{1000}}},
		"middling stays behind":               {{ms(100), ms(25), between, nil}},
		"starved amid an invocation":          {{ms(100), ms(90), amid, nil}, {ms(100), ms(1), amid, nil}},
		"light again after a heavy one":       {{ms(100), ms(90), amid, nil}, {ms(200), ms(40), between, []int{1000}}},
		"boosted in its first invocation":     {{ms(100), ms(200), amid, nil}},
		"too short to say anything, added up": {{ms(60), 0, between, nil}, {ms(40), 0, between, []int{1000}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scales{}
				e, b := &Environment{fn: function.Function{Settings: function.Settings{Memory: memoryPerCore}}}, &boot{workload: s, tenant: NewReserve(1, nil).enter()}
				used := ms(300) // by the start
				e.weigh(t.Context(), b, used, between)
				for i, step := range steps {
					time.Sleep(step.took)
					used += step.used
					e.weigh(t.Context(), b, used, step.between)
					if !slices.Equal(s.weights, step.want) {
						t.Errorf("step %d: weights %v, want %v", i, s.weights, step.want)
					}
				}
			})
		})
	}
}
