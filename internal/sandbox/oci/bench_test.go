package oci_test

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// BenchmarkStart measures from Run to its return, to the first line of output, and
// the deletion, in milliseconds (medians).
func BenchmarkStart(b *testing.B) {
	for _, c := range []struct {
		name   string
		mounts []sandbox.Mount
	}{
		{"Plain", nil},
		{"Scratch", []sandbox.Mount{{Destination: "/tmp", Scratch: 512 << 20}}},
		{"ScratchAndImage", []sandbox.Mount{{Destination: "/tmp", Scratch: 512 << 20}, {Destination: "/opt", Image: "extra"}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			rt := open(b, fmt.Sprintf("bench-%d", os.Getpid()))
			var run, first, del []float64
			ms := func(t time.Time) float64 { return float64(time.Since(t).Microseconds()) / 1e3 }
			for n := 0; b.Loop(); n++ {
				mounts := slices.Clone(c.mounts)
				for i := range mounts {
					if mounts[i].Image != "" {
						mounts[i].Image = files.Extra
					}
				}
				r, w, err := os.Pipe()
				if err != nil {
					b.Fatal(err)
				}
				t := time.Now()
				sb, err := rt.Run(b.Context(), sandbox.Spec{
					ID: fmt.Sprint("b", n), Memory: 128 << 20, CPUs: 2,
					Containers: []sandbox.Container{{
						RootFS: files.Root, Args: []string{"/probe", "sleep"}, Stdout: w, Mounts: mounts,
					}},
				})
				run = append(run, ms(t))
				w.Close()
				if err != nil {
					b.Fatal(err)
				}
				if line, err := bufio.NewReader(r).ReadString('\n'); err != nil {
					b.Fatal(line, err)
				}
				first = append(first, ms(t))
				r.Close()
				t = time.Now()
				if err := sb.Delete(b.Context()); err != nil {
					b.Fatal(err)
				}
				del = append(del, ms(t))
			}
			for name, v := range map[string][]float64{"run-ms": run, "first-output-ms": first, "delete-ms": del} {
				slices.Sort(v)
				b.ReportMetric(v[len(v)/2], name)
				if name == "first-output-ms" {
					b.ReportMetric(v[0], "min-first-output-ms")
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkFreeze measures one freeze and one thaw of an idle sandbox.
func BenchmarkFreeze(b *testing.B) {
	rt := open(b, fmt.Sprintf("bench-%d", os.Getpid()))
	sb, err := rt.Run(b.Context(), sandbox.Spec{ID: "b", Memory: 128 << 20, Containers: []sandbox.Container{{
		RootFS: files.Root, Args: []string{"/probe", "sleep"},
	}}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := sb.Freeze(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := sb.Thaw(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStats measures one measurement.
func BenchmarkStats(b *testing.B) {
	rt := open(b, fmt.Sprintf("bench-%d", os.Getpid()))
	sb, err := rt.Run(b.Context(), sandbox.Spec{ID: "b", Memory: 128 << 20, Containers: []sandbox.Container{{
		RootFS: files.Root, Args: []string{"/probe", "sleep"},
	}}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := sb.Stats(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
