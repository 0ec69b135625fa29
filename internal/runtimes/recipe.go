package runtimes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"

	"lambent.dev/lambent/runtimes"
	"lambent.dev/lambent/runtimes/bootstrap"
)

// version of what this package does with a recipe; another version builds anew.
const version = "2"

// recipe is how one image is made; a row of recipes.json.
type recipe struct {
	Name     string   `json:"name"`     // the runtime's identifier
	Family   string   `json:"family"`   // node, python or provided
	Suite    string   `json:"suite"`    // of Debian
	Packages []string `json:"packages"` // besides the base
	Default  bool     `json:"default"`  // built when no name is given

	digest string
}

// base says which Debian the image stands on.
func (r recipe) base() string { return r.Suite + ": " + strings.Join(r.Packages, " ") }

// load reads the recipes of names, or the default ones, with the base's packages filled in.
func load(names []string) ([]recipe, error) {
	all, err := recipes()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return slices.DeleteFunc(all, func(r recipe) bool { return !r.Default }), nil
	}
	var out []recipe
	for _, name := range names {
		i := slices.IndexFunc(all, func(r recipe) bool { return r.Name == name })
		if i < 0 {
			var known []string
			for _, r := range all {
				known = append(known, r.Name)
			}
			return nil, fmt.Errorf("%w for %q; there are %s", ErrUnknown, name, strings.Join(known, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

func recipes() ([]recipe, error) {
	b, err := fs.ReadFile(runtimes.Recipes, "recipes.json")
	if err != nil {
		return nil, err
	}
	var file struct {
		Base   []string `json:"base"`
		Images []recipe `json:"images"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("read recipes: %w", err)
	}
	for i, r := range file.Images {
		file.Images[i].Packages = slices.Sorted(slices.Values(append(slices.Clone(file.Base), r.Packages...)))
	}
	return file.Images, nil
}

// digest is over everything that decides what an image holds, newer Debian packages aside.
func (b *builder) digest(r recipe) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, version, debianArch(), r.Name, r.Family, r.base())
	for _, part := range []struct {
		fsys fs.FS
		dir  string
	}{
		{runtimes.Recipes, "sdk/" + r.Family}, {runtimes.Recipes, "sdk/" + r.Name},
		{b.options.Clients, r.Family}, {b.options.Clients, "wrapper"},
	} {
		if err := sumFS(sum, part.fsys, part.dir); err != nil {
			return "", fmt.Errorf("digest of %s: %w", r.Name, err)
		}
	}
	if r.Family == "provided" {
		program, err := bootstrap.Program(runtime.GOARCH)
		if err != nil {
			return "", err
		}
		sum.Write(program)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// sumFS adds the names and contents below dir; a dir that is absent adds nothing.
func sumFS(sum io.Writer, fsys fs.FS, dir string) error {
	err := fs.WalkDir(fsys, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !wanted(name) {
			return err
		}
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(sum, "%s %d\n%s", name, len(b), b)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// wanted leaves the clients' tests and notes out of the images.
func wanted(name string) bool {
	base := path.Base(name)
	return !strings.HasSuffix(base, ".md") && !strings.HasPrefix(base, "test_") &&
		!strings.Contains(base, ".test.") && !strings.Contains(base, "_test.") && !strings.Contains(name, "__pycache__")
}
