package attack

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
)

// An entry is a file in a zip.
type entry struct {
	name string
	mode fs.FileMode
	data string
}

// A package that wants out of /var/task or more than its due. It is refused with AWS's error, or
// it makes just the files that are named here.
type escape struct {
	name    string
	zip     func(t *testing.T, planted string) []byte
	refused string   // what the error says
	files   []string // beside app.py, with their modes in octal
}

const (
	noZip = "Could not unzip uploaded file. Please check your file, then try to upload again."
	large = "Unzipped size must be smaller than 262144000 bytes"
)

var escapes = []escape{
	{name: "control", zip: of(entry{"a", 0o644, "x"}), files: []string{"a 100644"}},
	{name: "traversal", zip: of(entry{"../../../../../../tmp/owned", 0o644, "x"}), refused: noZip},
	{name: "traversal by backslash", zip: of(entry{`..\..\owned`, 0o644, "x"}), files: []string{`..\..\owned 100644`}},
	{name: "absolute", zip: of(entry{"/tmp/owned", 0o644, "x"}), files: []string{"tmp 40755", "tmp/owned 100644"}},
	{name: "link to the host's file", zip: linked, files: []string{"l 120777"}},
	{name: "through a link", zip: of(entry{"l", fs.ModeSymlink | 0o777, "/etc"}, entry{"l/owned", 0o644, "x"}), files: []string{"l 120777", "etc 40755", "etc/owned 100644"}},
	{name: "link to itself", zip: of(entry{"l", fs.ModeSymlink | 0o777, "l"}, entry{"l/owned", 0o644, "x"}), refused: noZip},
	{name: "links in a ring", zip: of(entry{"a", fs.ModeSymlink | 0o777, "b"}, entry{"b", fs.ModeSymlink | 0o777, "a"}), files: []string{"a 120777", "b 120777"}},
	{name: "device, pipe, socket", zip: of(entry{"mem", fs.ModeDevice | fs.ModeCharDevice | 0o666, ""}, entry{"sda", fs.ModeDevice | 0o666, ""}, entry{"p", fs.ModeNamedPipe | 0o666, ""}, entry{"s", fs.ModeSocket | 0o666, ""})},
	{name: "setuid", zip: of(entry{"su", fs.ModeSetuid | fs.ModeSetgid | 0o755, "#!/bin/sh\n"}), files: []string{"su 100755"}},
	{name: "one name twice", zip: of(entry{"a", 0o600, "1"}, entry{"a", fs.ModeSymlink | 0o777, "/etc/shadow"}, entry{"a", 0o644, "2"}), files: []string{"a 100644"}},
	{name: "size that lies", zip: lying, refused: noZip},
	{name: "bomb", zip: bomb(1, 300<<20), refused: large},
	{name: "bomb of files that overlap", zip: bomb(60, 8<<20), refused: large},
	{name: "250 MB exactly", zip: bomb(1, 262144000), refused: large},
	{name: "no zip", zip: func(*testing.T, string) []byte { return []byte("MZ" + strings.Repeat("\x00", 1000)) }, refused: noZip},
	{name: "directory beyond the end", zip: beyond, refused: noZip},
}

// TestEscapes uploads packages that want out.
func TestEscapes(t *testing.T) {
	r := start(t)
	dir := t.TempDir()
	planted := filepath.Join(dir, "planted")
	if err := os.WriteFile(planted, []byte("secret-of-the-host"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := listing(t, "/tmp", r.State)
	for i, e := range escapes {
		t.Run(e.name, func(t *testing.T) {
			name := aws.String("escape-" + string(rune('a'+i)))
			_, err := r.api.CreateFunction(context.Background(), &lambda.CreateFunctionInput{
				FunctionName: name, Role: &r.role, Runtime: types.RuntimePython313, Handler: aws.String("app.tree"), MemorySize: aws.Int32(1769), Timeout: aws.Int32(20),
				Code: &types.FunctionCode{ZipFile: e.zip(t, planted)},
			})
			var refusal smithy.APIError
			if errors.As(err, &refusal) && refusal.ErrorFault() == smithy.FaultServer || err != nil && refusal == nil {
				t.Fatal(err)
			}
			if err != nil || e.refused != "" {
				if err == nil || refusal.ErrorCode() != "InvalidParameterValueException" || !strings.Contains(refusal.ErrorMessage(), e.refused) {
					t.Errorf("got %v, want %s", err, e.refused)
				}
				return
			}
			w := lambda.NewFunctionActiveV2Waiter(r.api, func(o *lambda.FunctionActiveV2WaiterOptions) { o.MinDelay = 50 * time.Millisecond })
			if err := w.Wait(context.Background(), &lambda.GetFunctionInput{FunctionName: name}, time.Minute); err != nil {
				t.Fatal(err)
			}
			got := want[struct{ Names, Read, Root []string }](t, r.with(t).invoke(*name, args{"secret": "secret-of-the-host"}))
			expect := append([]string{"app.py 100755"}, e.files...)
			slices.Sort(expect)
			if !slices.Equal(got.Names, expect) || len(got.Read) > 0 || slices.Contains(got.Root, "owned") {
				t.Errorf("inside: %+v, want %v", got, expect)
			}
		})
	}
	if after := listing(t, "/tmp", r.State); !slices.Equal(before, after) {
		t.Errorf("files appeared on the host: %v, then %v", before, after)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("files appeared on the host: %v, %v", entries, err)
	}
}

// listing is where escapes would land: what is called owned, in a directory of the host and in
// the state directory.
func listing(t *testing.T, dirs ...string) (found []string) {
	t.Helper()
	for _, d := range dirs {
		_ = filepath.WalkDir(d, func(path string, e fs.DirEntry, err error) error {
			if err == nil && strings.Contains(e.Name(), "owned") {
				found = append(found, path)
			}
			return nil // what vanishes meanwhile is others'
		})
	}
	return found
}

// pack makes a zip of the function and some entries.
func pack(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range append([]entry{{"app.py", 0o755, stories}}, entries...) {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func of(entries ...entry) func(*testing.T, string) []byte {
	return func(t *testing.T, _ string) []byte { return pack(t, entries...) }
}

// linked has a link to the planted file.
func linked(t *testing.T, planted string) []byte {
	t.Helper()
	return pack(t, entry{"l", fs.ModeSymlink | 0o777, planted})
}

// lying has a file that says it is one byte and is a thousand.
func lying(t *testing.T, _ string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	squeezed, sum := deflate(t, 1000)
	w, err := z.CreateRaw(&zip.FileHeader{Name: "a", Method: zip.Deflate, CRC32: sum, CompressedSize64: uint64(len(squeezed)), UncompressedSize64: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(squeezed)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bomb has a file of zeros under many names: its data stand there once.
func bomb(names, size int) func(*testing.T, string) []byte {
	return func(t *testing.T, _ string) []byte {
		squeezed, sum := deflate(t, size)
		var b, directory bytes.Buffer
		head := func(name string, central bool) []byte {
			h := binary.LittleEndian.AppendUint32(nil, 0x04034b50)
			if central {
				h = binary.LittleEndian.AppendUint32(nil, 0x02014b50)
				h = binary.LittleEndian.AppendUint16(h, 20)
			}
			for _, v := range []uint16{20, 0, zip.Deflate, 0, 0x21} {
				h = binary.LittleEndian.AppendUint16(h, v)
			}
			for _, v := range []uint32{sum, uint32(len(squeezed)), uint32(size)} {
				h = binary.LittleEndian.AppendUint32(h, v)
			}
			h = binary.LittleEndian.AppendUint16(h, uint16(len(name)))
			h = append(h, 0, 0)
			if central {
				h = append(h, make([]byte, 14)...) // no comment, disk 0, no attributes, offset 0
			}
			return append(h, name...)
		}
		b.Write(head("f000", false))
		b.Write(squeezed)
		for i := range names {
			directory.Write(head("f"+string(rune('a'+i/26))+string(rune('a'+i%26))+"x", true))
		}
		end := binary.LittleEndian.AppendUint32(nil, 0x06054b50)
		for _, v := range []uint16{0, 0, uint16(names), uint16(names)} {
			end = binary.LittleEndian.AppendUint16(end, v)
		}
		end = binary.LittleEndian.AppendUint32(end, uint32(directory.Len()))
		end = binary.LittleEndian.AppendUint32(end, uint32(b.Len()))
		b.Write(directory.Bytes())
		b.Write(append(end, 0, 0))
		return b.Bytes()
	}
}

func deflate(t *testing.T, size int) (squeezed []byte, sum uint32) {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, min(size, 1<<20))
	for left := size; left > 0; left -= len(block) {
		block = block[:min(left, len(block))]
		_, _ = w.Write(block)
		sum = crc32.Update(sum, crc32.IEEETable, block)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), sum
}

// beyond has a directory that says it stands where no byte is.
func beyond(t *testing.T, _ string) []byte {
	b := pack(t)
	binary.LittleEndian.PutUint32(b[len(b)-6:], 0xfffffff0)
	return b
}
