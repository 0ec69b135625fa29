package wire

import (
	"net/http"

	"github.com/aws/smithy-go"
)

// A Protocol is one of AWS's wire protocols: [RestJSON], [JSON10], [JSON11] or [Query].
type Protocol interface {
	// Denied is the HTTP status of requests that fail authentication or authorisation.
	Denied() int

	prepare(*Service) error
	route(*Call) error
	decode(c *Call, body []byte) error
	encode(c *Call, w http.ResponseWriter, out any) error
	unknown(s *Service, name string) error
	// fail writes an error. status is what tables say, 0 if they say nothing; schema is the
	// exception's, nil if it is not modelled.
	fail(s *Service, w http.ResponseWriter, requestID string, status int, schema *smithy.Schema, err smithy.APIError) error
}

// The protocols.
var (
	RestJSON Protocol = restJSON{}                            // aws.protocols#restJson1
	JSON10   Protocol = awsJSON{"application/x-amz-json-1.0"} // aws.protocols#awsJson1_0
	JSON11   Protocol = awsJSON{"application/x-amz-json-1.1"} // aws.protocols#awsJson1_1
	Query    Protocol = query{}                               // aws.protocols#awsQuery
)
