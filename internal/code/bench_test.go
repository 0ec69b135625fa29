package code

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// BenchmarkPut stores a new package of one small file: what CreateFunction waits for.
func BenchmarkPut(b *testing.B) {
	s := newStore(b)
	for i := range b.N {
		if _, err := s.Put(context.Background(), makeZip(b, file{name: "index.js", mode: 0o644, data: fmt.Sprint(i)})); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPutLarge stores a package of 3,000 files and 48 MB.
func BenchmarkPutLarge(b *testing.B) {
	s := newStore(b)
	for i := range b.N {
		b.StopTimer()
		var files []file
		for j := range 3000 {
			files = append(files, file{name: fmt.Sprintf("node_modules/p%d/%d.js", j%100, j), mode: 0o644, data: strings.Repeat(fmt.Sprint(i, j), 16000/len(fmt.Sprint(i, j)))})
		}
		data := makeZip(b, files...)
		b.StartTimer()
		if _, err := s.Put(context.Background(), data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkImage finds the image of a package that was used before: what a cold start waits for.
func BenchmarkImage(b *testing.B) {
	s := newStore(b)
	p, err := s.Put(context.Background(), makeZip(b, file{name: "index.js", mode: 0o644, data: "x"}))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_, release, err := s.Image(context.Background(), p.Digest)
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}
