package wire

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/smithy-go/traits"
)

// A router finds the operation for a method and a path among Smithy's URI templates. It is a
// tree of path segments per method; at each a literal goes before a label, and a label before a
// greedy one.
type router struct{ roots map[string]*routeNode }

type routeNode struct {
	literals map[string]*routeNode
	label    *routeNode
	greedy   []greedyTail
	leaves   []routeLeaf
}

// greedyTail is a {label+} and the literal segments behind it.
type greedyTail struct {
	suffix []string
	leaf   routeLeaf
}

type routeLeaf struct {
	op     *Operation
	labels []string
	query  url.Values // parameters that must stand in the query
}

// label is a label's name and value in a request, unescaped.
type label struct{ name, value string }

func (rt *router) add(op *Operation) error {
	h := trait[*traits.HTTP](op.schema)
	if h == nil {
		return fmt.Errorf("%s: no http trait", op.Name())
	}
	if rt.roots == nil {
		rt.roots = map[string]*routeNode{}
	}
	if rt.roots[h.Method] == nil {
		rt.roots[h.Method] = &routeNode{}
	}
	path, rawQuery, _ := strings.Cut(h.URI, "?")
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return fmt.Errorf("%s: %w", op.Name(), err)
	}
	leaf, n := routeLeaf{op: op, query: query}, rt.roots[h.Method]
	segs := segments(path)
	for i, seg := range segs {
		name, isLabel := strings.CutPrefix(seg, "{")
		name = strings.TrimSuffix(name, "}")
		if isLabel {
			leaf.labels = append(leaf.labels, strings.TrimSuffix(name, "+"))
		}
		if strings.HasSuffix(name, "+") {
			n.greedy = append(n.greedy, greedyTail{segs[i+1:], leaf})
			return nil
		}
		n = n.child(seg, isLabel)
	}
	n.leaves = append(n.leaves, leaf)
	return nil
}

func (n *routeNode) child(seg string, isLabel bool) *routeNode {
	if isLabel {
		if n.label == nil {
			n.label = &routeNode{}
		}
		return n.label
	}
	if n.literals == nil {
		n.literals = map[string]*routeNode{}
	}
	if n.literals[seg] == nil {
		n.literals[seg] = &routeNode{}
	}
	return n.literals[seg]
}

// segments splits an escaped path. A slash at its end is no segment of its own.
func segments(path string) []string {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// match finds the operation for a method, an escaped path and a raw query.
func (rt *router) match(method, path, rawQuery string) (*Operation, []label, bool) {
	root := rt.roots[method]
	if root == nil {
		return nil, nil, false
	}
	leaf, values, ok := root.match(segments(path), nil, rawQuery)
	if !ok {
		return nil, nil, false
	}
	labels := make([]label, len(leaf.labels))
	for i, name := range leaf.labels {
		v, err := url.PathUnescape(values[i])
		if err != nil {
			return nil, nil, false
		}
		labels[i] = label{name, v}
	}
	return leaf.op, labels, true
}

func (n *routeNode) match(segs, values []string, rawQuery string) (routeLeaf, []string, bool) {
	if len(segs) == 0 {
		leaf, ok := n.leaf(rawQuery)
		return leaf, values, ok
	}
	if next := n.literals[segs[0]]; next != nil {
		if leaf, v, ok := next.match(segs[1:], values, rawQuery); ok {
			return leaf, v, true
		}
	}
	if n.label != nil && segs[0] != "" {
		if leaf, v, ok := n.label.match(segs[1:], append(values[:len(values):len(values)], segs[0]), rawQuery); ok {
			return leaf, v, true
		}
	}
	for _, g := range n.greedy {
		cut := len(segs) - len(g.suffix)
		if cut < 1 || !equal(segs[cut:], g.suffix) {
			continue
		}
		return g.leaf, append(values[:len(values):len(values)], strings.Join(segs[:cut], "/")), true
	}
	return routeLeaf{}, nil, false
}

func equal(a, b []string) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// leaf is the operation at n whose query parameters the request has; the one that asks for most
// of them first.
func (n *routeNode) leaf(rawQuery string) (best routeLeaf, found bool) {
	var query url.Values
	for _, l := range n.leaves {
		if len(l.query) > 0 && query == nil {
			query, _ = url.ParseQuery(rawQuery)
		}
		if fits(l.query, query) && (!found || len(l.query) > len(best.query)) {
			best, found = l, true
		}
	}
	return best, found
}

func fits(want, got url.Values) bool {
	for k, v := range want {
		if !got.Has(k) || v[0] != "" && got.Get(k) != v[0] {
			return false
		}
	}
	return true
}
