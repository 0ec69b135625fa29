package wire

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
)

// query is aws.protocols#awsQuery: a form in, XML out.
type query struct{}

// Denied implements Protocol.
func (query) Denied() int { return http.StatusForbidden }

func (query) prepare(*Service) error { return nil }

// route leaves the operation open: its name is in the form.
func (query) route(c *Call) error {
	if m := c.request.Method; m != http.MethodPost && m != http.MethodGet {
		return c.service.UnknownOperation("")
	}
	return nil
}

func (query) unknown(s *Service, name string) error {
	if name == "" {
		// AWS: the text of IAM and STS for a request without Action.
		return &Error{Code: "MissingAction", Message: "Missing Action", Status: http.StatusBadRequest}
	}
	return &Error{
		Code: "InvalidAction", Status: http.StatusBadRequest,
		Message: fmt.Sprintf("Could not find operation %s for version %s", name, s.Version),
	}
}

func (query) decode(c *Call, body []byte) error {
	form, err := readForm(c.request, body)
	if err != nil {
		return err
	}
	name := form.Get("Action")
	c.op = c.service.byName[name]
	if v := form.Get("Version"); c.op == nil || v != "" && v != c.service.Version {
		c.op = nil
		if v == "" {
			v = c.service.Version
		}
		return unknownVersion(c.service, name, v)
	}
	dst := c.newInput()
	if isUnit(c.op.in) {
		return nil
	}
	root, err := tree(form)
	if err != nil {
		return err
	}
	v, err := root.structure(c.op.in)
	if err != nil {
		return err
	}
	return c.service.Unions.decode(dst, c.op.in, v)
}

func unknownVersion(s *Service, name, version string) error {
	err := s.UnknownOperation(name)
	if e, ok := err.(*Error); ok && name != "" {
		e.Message = fmt.Sprintf("Could not find operation %s for version %s", name, version)
	}
	return err
}

// readForm joins the parameters of the body, if it is a form, with those of the query, where
// presigned requests have all of them.
func readForm(r *http.Request, body []byte) (url.Values, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &Error{Code: "MalformedQueryString", Message: "The query string contains a syntax error.", Status: http.StatusNotFound}
	}
	for k, v := range r.URL.Query() {
		if _, ok := form[k]; !ok {
			form[k] = v
		}
	}
	return form, nil
}

// A formNode is what stands under one prefix of the form's keys.
type formNode struct {
	value    string
	set      bool
	children map[string]*formNode
}

// maxFormDepth bounds the parts of a key: no shape is that deep.
const maxFormDepth = 32

func tree(form url.Values) (*formNode, error) {
	root := &formNode{}
	for key, v := range form {
		parts := strings.Split(key, ".")
		if len(parts) > maxFormDepth {
			return nil, &SerializationError{Member: parts[0], Message: "The parameter is nested too deep"}
		}
		n := root
		for _, p := range parts {
			if n.children == nil {
				n.children = map[string]*formNode{}
			}
			if n.children[p] == nil {
				n.children[p] = &formNode{}
			}
			n = n.children[p]
		}
		n.value, n.set = v[0], true
	}
	return root, nil
}

// jsonValue turns a node into the JSON value that the shape decodes from.
func (n *formNode) jsonValue(s *smithy.Schema) (any, error) {
	switch s.Type() {
	case smithy.ShapeTypeStructure, smithy.ShapeTypeUnion:
		return n.structure(s)
	case smithy.ShapeTypeList, smithy.ShapeTypeSet:
		return n.list(s)
	case smithy.ShapeTypeMap:
		return n.mapping(s)
	}
	if !n.set {
		return nil, &SerializationError{Member: s.MemberName(), Message: "Unexpected complex element"}
	}
	return textValue(s, n.value)
}

func (n *formNode) structure(s *smithy.Schema) (any, error) {
	out := map[string]any{}
	for name, ms := range s.Members() {
		key := queryName(name, ms)
		child := n.children[key]
		if child == nil {
			continue
		}
		v, err := child.jsonValue(ms)
		if err != nil {
			return nil, err
		}
		// the JSON decoder looks members up by their JSON name, which query shapes never have
		out[name] = v
	}
	return out, nil
}

// queryName is the member's name in keys; xmlName renames it there too.
func queryName(name string, s *smithy.Schema) string {
	if t, ok := smithy.SchemaDirectTrait[*traits.XMLName](s); ok {
		return t.Name
	}
	return name
}

func (n *formNode) list(s *smithy.Schema) (any, error) {
	items := n
	if !has[*traits.XMLFlattened](s) {
		items = n.children[queryName("member", s.ListMember())]
	}
	out := []any{}
	for _, item := range items.numbered() {
		v, err := item.jsonValue(s.ListMember())
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (n *formNode) mapping(s *smithy.Schema) (any, error) {
	entries := n
	if !has[*traits.XMLFlattened](s) {
		entries = n.children["entry"]
	}
	out := map[string]any{}
	for _, e := range entries.numbered() {
		k, v := e.children[queryName("key", s.MapKey())], e.children[queryName("value", s.MapValue())]
		if k == nil || v == nil {
			return nil, &SerializationError{Member: s.MemberName(), Message: "An entry needs a key and a value"}
		}
		value, err := v.jsonValue(s.MapValue())
		if err != nil {
			return nil, err
		}
		out[k.value] = value
	}
	return out, nil
}

// numbered are the children with a number for a name, in order. Gaps are allowed, as AWS does.
func (n *formNode) numbered() []*formNode {
	if n == nil {
		return nil
	}
	var at []int
	for k := range n.children {
		if i, err := strconv.Atoi(k); err == nil && i > 0 && strconv.Itoa(i) == k {
			at = append(at, i)
		}
	}
	slices.Sort(at)
	out := make([]*formNode, len(at))
	for i, k := range at {
		out[i] = n.children[strconv.Itoa(k)]
	}
	return out
}

func (query) encode(c *Call, w http.ResponseWriter, out any) error {
	name := c.op.Name()
	x := xmlWriter{b: make([]byte, 0, 1024)}
	x.openNamespace(name+"Response", c.service.Namespace)
	if !isUnit(c.op.out) {
		x.open(name + "Result")
		x.members(reflect.ValueOf(out).Elem(), c.op.out)
		x.close(name + "Result")
	}
	x.open("ResponseMetadata")
	x.element("RequestId", RequestFrom(c.request.Context()).ID)
	x.close("ResponseMetadata")
	x.close(name + "Response")
	return writeBody(w, http.StatusOK, "text/xml", x.b)
}

func (query) fail(s *Service, w http.ResponseWriter, requestID string, status int, schema *smithy.Schema, err smithy.APIError) error {
	if status == 0 {
		status = faultStatus(err)
	}
	code := err.ErrorCode()
	if t := trait[*traits.AWSQueryError](schema); t != nil {
		code = t.ErrorCode
	}
	if _, ok := err.(*SerializationError); ok {
		code = "MalformedInput"
	}
	x := xmlWriter{}
	x.openNamespace("ErrorResponse", s.Namespace)
	x.open("Error")
	x.element("Type", faultType(err, "Sender", "Receiver"))
	x.element("Code", code)
	x.element("Message", err.ErrorMessage())
	x.close("Error")
	x.element("RequestId", requestID)
	x.close("ErrorResponse")
	return writeBody(w, status, "text/xml", x.b)
}
