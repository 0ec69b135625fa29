package lint

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"
)

// TestLayers checks that imports only point down the layers of ARCHITECTURE.md, and that
// every package has a place there.
func TestLayers(t *testing.T) {
	layers := readLayers(t)
	for _, p := range listPackages(t) {
		from, ok := strings.CutPrefix(p.ImportPath, modulePath+"/internal/")
		if !ok || from == "lint" {
			continue
		}
		f, ok := layers.place(from)
		if !ok {
			t.Errorf("%s: not in the layers of ARCHITECTURE.md", from)
			continue
		}
		for _, imp := range p.Imports {
			to, ok := strings.CutPrefix(imp, modulePath+"/internal/")
			if !ok || under(to, f.name) {
				continue
			}
			if l, ok := layers.place(to); ok && l.line <= f.line {
				t.Errorf("%s imports %s, which is not below it", from, to)
			}
		}
	}
}

// TestSDKStaysAtTheDoor checks that the SDK's service types stop at api/* and wire.
func TestSDKStaysAtTheDoor(t *testing.T) {
	for _, p := range listPackages(t) {
		rel := strings.TrimPrefix(p.ImportPath, modulePath+"/")
		if under(rel, "internal/api") || under(rel, "internal/wire") || under(rel, "cmd") || under(rel, "test") {
			continue
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "github.com/aws/aws-sdk-go-v2/service/") {
				t.Errorf("%s imports %s: SDK types belong in internal/api", rel, imp)
			}
		}
	}
}

// TestFakesStayOut checks that the release binary links no fake.
func TestFakesStayOut(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../../cmd/lambent").Output()
	if err != nil {
		t.Fatal(explain(err))
	}
	for dep := range strings.Lines(string(out)) {
		if dep = strings.TrimSpace(dep); path.Base(dep) == "fake" || strings.HasSuffix(dep, "test") && strings.HasPrefix(dep, modulePath) {
			t.Errorf("cmd/lambent links %s", dep)
		}
	}
}

const modulePath = "lambent.dev/lambent"

type layerPlace struct {
	name string
	line int
}

type layerMap map[string]int

// place finds the layer of pkg, or of the nearest folder above it that has one.
// "api/*" gives each of its children a place of its own on that line.
func (m layerMap) place(pkg string) (layerPlace, bool) {
	for dir := pkg; dir != "."; dir = path.Dir(dir) {
		if n, ok := m[dir]; ok {
			return layerPlace{dir, n}, true
		}
		if n, ok := m[path.Dir(dir)+"/*"]; ok {
			return layerPlace{dir, n}, true
		}
	}
	return layerPlace{}, false
}

func under(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

func readLayers(t *testing.T) layerMap {
	t.Helper()
	b, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(b), "```layers\n")
	if !found {
		t.Fatal("ARCHITECTURE.md has no layers block")
	}
	text, _, _ = strings.Cut(text, "```")
	m := layerMap{}
	for i, line := range strings.Split(text, "\n") {
		for _, pkg := range strings.Fields(line) {
			m[pkg] = i
		}
	}
	return m
}

type goPackage struct {
	ImportPath string
	Dir        string
	Doc        string
	GoFiles    []string
	Imports    []string
}

func listPackages(t *testing.T) (all []goPackage) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports", "../../...").Output()
	if err != nil {
		t.Fatal(explain(err))
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func explain(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return errors.New(string(exit.Stderr))
	}
	return err
}
