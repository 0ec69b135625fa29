package oci

import (
	"bufio"
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"testing"
	"time"

	"lambent.dev/lambent/internal/erofs"
	"lambent.dev/lambent/internal/sandbox"
)

func image(t *testing.T) string {
	dir := t.TempDir()
	probe := filepath.Join(dir, "probe")
	c := exec.Command("go", "build", "-o", probe, "lambent.dev/lambent/internal/sandbox/sandboxtest/probe")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	b, err := erofs.New(dir, erofs.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"proc", "dev", "sys", "tmp", "var/task"} {
		if err := b.Add(erofs.Entry{Path: d, Mode: fs.ModeDir | 0o755}, nil); err != nil {
			t.Fatal(err)
		}
	}
	f, _ := os.Open(probe)
	defer f.Close()
	if err := b.Add(erofs.Entry{Path: "probe", Mode: 0o755}, f); err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(dir, "root.erofs")
	if err := b.WriteFile(img); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestSmoke(t *testing.T) {
	img := image(t)
	ctx := context.Background()
	rt, err := Open(Config{Dir: t.TempDir(), Instance: "smoke", Binary: "../../../bin/lambent-runsc"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rt.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	var first, ran []float64
	for i := range 12 {
		r, w, _ := os.Pipe()
		t0 := time.Now()
		sb, err := rt.Run(ctx, sandbox.Spec{ID: "a" + string(rune('a'+i)), Memory: 128 << 20, CPUs: 2, Containers: []sandbox.Container{{
			RootFS: img, Args: []string{"/probe", "report"}, Env: []string{"A=b"}, UID: 993, GID: 990, Stdout: w, Stderr: w,
			Mounts: []sandbox.Mount{{Destination: "/tmp", Scratch: 512 << 20}},
		}}})
		ran = append(ran, time.Since(t0).Seconds()*1e3)
		w.Close()
		if err != nil {
			out, _ := io.ReadAll(r)
			t.Fatalf("%v: %s", err, out)
		}
		line, _ := bufio.NewReader(r).ReadString('\n')
		first = append(first, time.Since(t0).Seconds()*1e3)
		if i == 0 {
			t.Logf("%s", line)
		}
		<-sb.Done()
		if i == 0 {
			t.Logf("%+v", sb.Exit())
		}
		if err := sb.Delete(ctx); err != nil {
			t.Fatal(err)
		}
	}
	sort.Float64s(ran)
	sort.Float64s(first)
	t.Logf("run %.1f..%.1f..%.1f first output %.1f..%.1f..%.1f", ran[0], ran[6], ran[11], first[0], first[6], first[11])
}
