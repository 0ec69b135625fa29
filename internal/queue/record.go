package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"lambent.dev/lambent/internal/blob"
)

// A record is a header in JSON, a newline and the body as it is: bodies are mostly JSON already,
// and the owner reads headers only.
type header struct {
	ID        string      `json:"i"`
	Account   string      `json:"a,omitempty"`
	Group     string      `json:"g,omitempty"`
	Due       int64       `json:"d"` // Unix nanoseconds
	Attempts  int         `json:"n,omitempty"`
	Failures  int         `json:"f,omitempty"`
	Published int64       `json:"p"` // Unix nanoseconds
	Written   int64       `json:"w"` // the same, of this record: what Due was reckoned from
	Blob      blob.Digest `json:"b,omitempty"`
}

var errRecord = errors.New("malformed record")

func encode(h header, body []byte) ([]byte, error) {
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(head)+1+len(body))
	return append(append(append(out, head...), '\n'), body...), nil
}

func decode(value []byte) (h header, body []byte, err error) {
	head, body, found := bytes.Cut(value, []byte{'\n'})
	if !found {
		return header{}, nil, errRecord
	}
	if err := json.Unmarshal(head, &h); err != nil {
		return header{}, nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return h, body, nil
}

func (h header) message(body []byte) Message {
	return Message{
		ID: h.ID, Account: h.Account, Group: h.Group, Body: body, Attempts: h.Attempts, Failures: h.Failures,
		Due: time.Unix(0, h.Due), Published: time.Unix(0, h.Published),
	}
}

func putBlob(ctx context.Context, s *blob.Store, body []byte) (blob.Digest, error) {
	d, _, err := s.Put(ctx, bytes.NewReader(body))
	return d, err
}

func translate(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return err
}
