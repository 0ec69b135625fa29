package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"reflect"
	"strings"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
)

// restJSON is aws.protocols#restJson1.
type restJSON struct{}

// Denied implements Protocol.
func (restJSON) Denied() int { return http.StatusForbidden }

func (restJSON) prepare(s *Service) error {
	for i := range s.Operations {
		if err := s.router.add(&s.Operations[i]); err != nil {
			return err
		}
	}
	return nil
}

func (restJSON) route(c *Call) error {
	op, labels, ok := c.service.router.match(c.request.Method, c.request.URL.EscapedPath(), c.request.URL.RawQuery)
	if !ok {
		return c.service.UnknownOperation(c.request.Method + " " + c.request.URL.EscapedPath())
	}
	c.op, c.labels = op, labels
	return nil
}

func (restJSON) unknown(_ *Service, name string) error {
	return &Error{Code: "UnknownOperationException", Message: "Unknown operation: " + name, Status: http.StatusNotFound}
}

func (restJSON) decode(c *Call, body []byte) error {
	dst := c.newInput()
	if isUnit(c.op.in) {
		return nil
	}
	d := restDecoder{call: c, unions: c.service.Unions, raw: body}
	p := planOf(c.op.in, dst.Type())
	for i := range p.members {
		if err := d.member(dst, &p.members[i]); err != nil {
			return err
		}
	}
	return nil
}

// head decodes what stands in the head of a request.
func (restJSON) head(c *Call) (any, error) {
	v := reflect.New(c.op.input)
	d := restDecoder{call: c, unions: c.service.Unions}
	p := planOf(c.op.in, c.op.input)
	for i := range p.members {
		switch p.members[i].in {
		case inLabel, inQuery, inHeader:
			if err := d.member(v.Elem(), &p.members[i]); err != nil {
				return nil, err
			}
		}
	}
	return v.Interface(), nil
}

type restDecoder struct {
	call   *Call
	unions UnionTable
	raw    []byte
	query  url.Values     // nil until it is needed
	body   map[string]any // the same
}

func (d *restDecoder) member(dst reflect.Value, m *member) error {
	f, r := dst.Field(m.field), d.call.request
	switch m.in {
	case inLabel:
		for _, l := range d.call.labels {
			if l.name == m.name {
				return d.text(f, m.schema, []string{l.value})
			}
		}
		return nil
	case inQuery:
		return d.text(f, m.schema, d.queries()[m.key])
	case inQueryParams:
		return d.queryParams(dst, f, m)
	case inHeader:
		return d.text(f, m.schema, r.Header[textproto.CanonicalMIMEHeaderKey(m.key)])
	case inPrefixHeaders:
		return d.prefixHeaders(f, m)
	case inPayload:
		return d.payload(f, m.schema)
	case inStatus:
		return nil
	}
	if d.body == nil {
		v, err := parseJSON(d.raw)
		if err != nil {
			return err
		}
		d.body = v.(map[string]any)
	}
	return d.unions.decode(f, m.schema, d.body[m.json])
}

func (d *restDecoder) queries() url.Values {
	if d.query == nil {
		d.query = d.call.request.URL.Query()
	}
	return d.query
}

// queryParams is the map of all parameters that are no member of their own.
func (d *restDecoder) queryParams(dst, f reflect.Value, m *member) error {
	all := map[string]any{}
	for k, v := range d.queries() {
		if m.schema.MapValue().Type() == smithy.ShapeTypeList {
			l := make([]any, len(v))
			for i := range v {
				l[i] = v[i]
			}
			all[k] = l
		} else if len(v) > 0 {
			all[k] = v[0]
		}
	}
	for _, other := range planOf(d.call.op.in, dst.Type()).members {
		if other.in == inQuery {
			delete(all, other.key)
		}
	}
	return d.unions.decode(f, m.schema, all)
}

func (d *restDecoder) prefixHeaders(f reflect.Value, m *member) error {
	all := map[string]any{}
	prefix := textproto.CanonicalMIMEHeaderKey(m.key)
	for k, v := range d.call.request.Header {
		if name, ok := strings.CutPrefix(k, prefix); ok && len(v) > 0 {
			all[strings.ToLower(name)] = v[0]
		}
	}
	return d.unions.decode(f, m.schema, all)
}

func (d *restDecoder) payload(f reflect.Value, s *smithy.Schema) error {
	switch {
	case s.Type() == smithy.ShapeTypeBlob && f.Kind() == reflect.Interface: // streaming: an io.Reader
		f.Set(reflect.ValueOf(io.Reader(bytes.NewReader(d.raw))))
		return nil
	case s.Type() == smithy.ShapeTypeBlob:
		f.SetBytes(d.raw)
		return nil
	case s.Type() == smithy.ShapeTypeString || s.Type() == smithy.ShapeTypeEnum:
		return d.text(f, s, []string{string(d.raw)})
	case len(d.raw) == 0:
		return nil
	}
	v, err := parseJSON(d.raw)
	if err != nil {
		return err
	}
	return d.unions.decode(f, s, v)
}

// text decodes what a label, a header or query parameters say.
func (d *restDecoder) text(f reflect.Value, s *smithy.Schema, vals []string) error {
	if len(vals) == 0 {
		return nil
	}
	if s.Type() != smithy.ShapeTypeList {
		v, err := textValue(s, vals[0])
		if err != nil {
			return err
		}
		return d.unions.decode(f, s, v)
	}
	l := make([]any, len(vals))
	for i, text := range vals {
		v, err := textValue(s.ListMember(), text)
		if err != nil {
			return err
		}
		l[i] = v
	}
	return d.unions.decode(f, s, l)
}

// textValue is the JSON value that a text stands for.
func textValue(s *smithy.Schema, v string) (any, error) {
	switch s.Type() {
	case smithy.ShapeTypeBoolean:
		switch v {
		case "true", "false":
			return v == "true", nil
		}
		return nil, wrongType(s, v)
	case smithy.ShapeTypeByte, smithy.ShapeTypeShort, smithy.ShapeTypeInteger, smithy.ShapeTypeLong,
		smithy.ShapeTypeIntEnum, smithy.ShapeTypeFloat, smithy.ShapeTypeDouble:
		if v == "NaN" || strings.HasSuffix(v, "Infinity") {
			return v, nil
		}
		return json.Number(v), nil
	case smithy.ShapeTypeString:
		if has[*traits.MediaType](s) { // such headers are base64 on the wire
			if b, err := base64.StdEncoding.DecodeString(v); err == nil {
				return string(b), nil
			}
		}
	}
	return v, nil
}

func (restJSON) encode(c *Call, w http.ResponseWriter, out any) error {
	status := trait[*traits.HTTP](c.op.schema).Code
	if isUnit(c.op.out) {
		return writeBody(w, status, "", nil)
	}
	src := reflect.ValueOf(out).Elem()
	status = writeHeaders(w.Header(), c.op.out, src, status)
	p := planOf(c.op.out, src.Type())
	bodyless := true
	for i := range p.members {
		switch m := &p.members[i]; m.in {
		case inPayload:
			return writePayload(w, status, m.schema, src.Field(m.field))
		case inBody:
			bodyless = false
		}
	}
	if bodyless || status == http.StatusNoContent {
		return writeBody(w, status, "", nil)
	}
	b := appendStruct(make([]byte, 0, 512), src, c.op.out, func(m *member) bool { return m.in == inBody })
	return writeBody(w, status, "application/json", b)
}

func writePayload(w http.ResponseWriter, status int, s *smithy.Schema, f reflect.Value) error {
	if s.Type() == smithy.ShapeTypeStructure || s.Type() == smithy.ShapeTypeUnion {
		b := []byte("{}")
		if !absent(f) {
			b = appendJSON(nil, f, s)
		}
		return writeBody(w, status, "application/json", b)
	}
	contentType := w.Header().Get("Content-Type")
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	if f.Kind() == reflect.Slice {
		return writeBody(w, status, contentType, f.Bytes())
	}
	return writeBody(w, status, contentType, []byte(text(f, s, dateTime)))
}

// WriteHead writes the status and the headers of an output without its body, for operations of
// [OpRaw]: code is the status when no member of out says another.
func WriteHead(w http.ResponseWriter, schema *smithy.Schema, out any, code int) {
	w.WriteHeader(writeHeaders(w.Header(), schema, reflect.ValueOf(out).Elem(), code))
}

// writeHeaders sets the members that are headers and returns the status.
func writeHeaders(h http.Header, s *smithy.Schema, src reflect.Value, status int) int {
	p := planOf(s, src.Type())
	for i := range p.members {
		m := &p.members[i]
		f := src.Field(m.field)
		switch {
		case m.in == inStatus:
			if n := indirect(f); n.CanInt() && n.Int() != 0 {
				status = int(n.Int())
			}
		case absent(f):
		case m.in == inHeader && m.schema.Type() == smithy.ShapeTypeList:
			for j := range f.Len() {
				h.Add(m.key, headerText(f.Index(j), m.schema.ListMember()))
			}
		case m.in == inHeader:
			h.Set(m.key, headerText(f, m.schema))
		case m.in == inPrefixHeaders:
			for _, k := range sortedKeys(f) {
				h.Set(m.key+k.String(), headerText(f.MapIndex(k), m.schema.MapValue()))
			}
		}
	}
	return status
}

// headerText keeps a value from ending its header.
func headerText(f reflect.Value, s *smithy.Schema) string {
	v := text(f, s, httpDate)
	if s.Type() == smithy.ShapeTypeString && has[*traits.MediaType](s) {
		return base64.StdEncoding.EncodeToString([]byte(v))
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, v)
}

func (restJSON) fail(_ *Service, w http.ResponseWriter, _ string, status int, schema *smithy.Schema, err smithy.APIError) error {
	if status == 0 {
		status = faultStatus(err)
	}
	if schema != nil {
		writeHeaders(w.Header(), schema, reflect.ValueOf(err).Elem(), status)
	}
	b := append([]byte{'{'}, appendErrorMembers(nil, schema, err)...)
	return writeBody(w, status, "application/json", append(b, '}'))
}
