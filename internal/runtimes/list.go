package runtimes

import (
	"strconv"
	"time"

	"lambent.dev/lambent/internal/image"
)

// Status is what is known of one image of our own.
type Status struct {
	Name    string // the runtime's identifier
	Default bool   // built when no name is given
	Present bool
	Current bool // made by the recipe as it is now
	Digest  string
	Size    int64 // bytes of its files
	Created time.Time
}

// List reports on every image that has a recipe, and on what else the layout holds under a name.
// Current needs the same clients that Build would be given; the rest of options is not used.
func List(options Options) ([]Status, error) {
	all, err := recipes()
	if err != nil {
		return nil, err
	}
	b, err := newBuilder(options)
	if err != nil {
		return nil, err
	}
	names, err := b.layout.Names()
	if err != nil {
		return nil, err
	}
	var out []Status
	for _, r := range all {
		digest, err := b.digest(r)
		if err != nil {
			return nil, err
		}
		s := status(r.Name, names)
		s.Default, s.Current = r.Default, s.Present && names[r.Name].Annotations[recipeAnnotation] == digest
		delete(names, r.Name)
		out = append(out, s)
	}
	for _, name := range sorted(names) {
		out = append(out, status(name, names))
	}
	return out, nil
}

func status(name string, names image.Names) Status {
	s := Status{Name: name}
	desc, ok := names[name]
	if !ok {
		return s
	}
	s.Present, s.Digest = true, desc.Digest.String()
	// Images from elsewhere lack these; zero says so.
	s.Size, _ = strconv.ParseInt(desc.Annotations[sizeAnnotation], 10, 64)
	s.Created, _ = time.Parse(time.RFC3339, desc.Annotations[createdAnnotation])
	return s
}
