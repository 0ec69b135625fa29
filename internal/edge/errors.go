package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/sigv4"
	"lambent.dev/lambent/internal/wire"
)

var errBusy = errors.New("the server has too many requests in flight")

// Services without operations, for answers to requests that name no service: only the protocol
// matters then.
var (
	fallbackRest  = &wire.Service{Name: "unknown", Protocol: wire.RestJSON}
	fallbackJSON  = &wire.Service{Name: "unknown", Protocol: wire.JSON11}
	fallbackQuery = &wire.Service{Name: "unknown", Protocol: wire.Query}
)

// fallback guesses the protocol of a request.
func fallback(r *http.Request) *wire.Service {
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		return fallbackJSON
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"), strings.HasPrefix(r.URL.RawQuery, "Action="):
		return fallbackQuery
	}
	return fallbackRest
}

// errorNames are AWS's names and texts for one reason, in JSON and in query protocols.
type errorNames struct{ json, query, text string }

var (
	namesMissing    = errorNames{"MissingAuthenticationTokenException", "MissingAuthenticationToken", ""}
	namesIncomplete = errorNames{"IncompleteSignatureException", "IncompleteSignature", ""}
	namesMismatch   = errorNames{"InvalidSignatureException", "SignatureDoesNotMatch", ""}
	namesUnknown    = errorNames{"UnrecognizedClientException", "InvalidClientTokenId", "The security token included in the request is invalid."}
	namesExpired    = errorNames{"ExpiredTokenException", "ExpiredToken", "The security token included in the request is expired"}
)

// unauthentic words why a request is not authentic. Other errors pass.
func (x *exchange) unauthentic(err error) error {
	svc := x.service
	if svc == nil {
		svc = fallback(x.r)
	}
	var names errorNames
	var sig *sigv4.Error
	switch {
	case errors.As(err, &sig):
		names = map[sigv4.Reason]errorNames{
			sigv4.Missing: namesMissing, sigv4.Incomplete: namesIncomplete, sigv4.Mismatch: namesMismatch,
		}[sig.Reason]
		names.text = sig.Message
		// AWS: IAM and STS say more than others here.
		if sig.Reason == sigv4.Missing && svc.Protocol == wire.Query {
			names.text = "Request is missing Authentication Token"
		}
	case errors.Is(err, credential.ErrExpired):
		names = namesExpired
	case errors.Is(err, credential.ErrUnknown), errors.Is(err, credential.ErrInvalidToken):
		names = namesUnknown
	default:
		return err
	}
	e := &wire.Error{Code: names.json, Message: names.text, Status: svc.Protocol.Denied()}
	if svc.Protocol == wire.Query {
		e.Code = names.query
	}
	return e
}

// unknownService is the error of a signature for a service that is not served here.
func (x *exchange) unknownService(name string) error {
	svc := fallback(x.r)
	err := svc.UnknownOperation(name)
	var e *wire.Error
	if errors.As(err, &e) {
		e.Message = fmt.Sprintf("The service '%s' is not served in this region.", name)
	}
	return err
}

// translate turns errors of the layers below into AWS's; the services' own pass.
func (x *exchange) translate(svc *wire.Service, err error) error {
	var denied *iam.DeniedError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &denied):
		return wire.AccessDenied(svc, denied.Error())
	case errors.As(err, &tooLarge) && x.call != nil:
		return x.call.TooLarge()
	case errors.Is(err, errBusy), errors.Is(err, kv.ErrStale):
		x.w.Header().Set("Retry-After", "1")
		e := &wire.Error{Code: "ServiceUnavailableException", Message: "Service is unable to handle request.", Status: http.StatusServiceUnavailable, ServerFault: true}
		if svc.Protocol == wire.Query {
			e.Code = "ServiceUnavailable"
		}
		return e
	case errors.Is(err, context.Canceled) && x.r.Context().Err() != nil:
		return &wire.Error{Code: "RequestAborted", Message: "The client closed the request.", Status: 499}
	}
	return err
}
