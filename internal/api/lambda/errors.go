package lambda

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/internal/code"
	"lambent.dev/lambent/internal/disk"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/lambda/function"
	"lambent.dev/lambent/internal/lambda/invoke"
	"lambent.dev/lambent/internal/queue"
	"lambent.dev/lambent/internal/wire"
)

// invalid is InvalidParameterValueException.
func invalid(format string, args ...any) error {
	return &types.InvalidParameterValueException{Message: wire.Ptr(fmt.Sprintf(format, args...))}
}

// missing is ResourceNotFoundException.
func missing(format string, args ...any) error {
	return &types.ResourceNotFoundException{Message: wire.Ptr(fmt.Sprintf(format, args...))}
}

func conflict(format string, args ...any) error {
	return &types.ResourceConflictException{Message: wire.Ptr(fmt.Sprintf(format, args...))}
}

// unsupported refuses what this region does not honour, by name.
func unsupported(what string) error {
	return invalid("This region does not support %s yet, so a request that has it is refused.", what)
}

// The texts that AWS has for errors of the domain.
const (
	textRevision = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
	textUnzip    = "Could not unzip uploaded file. Please check your file, then try to upload again."
	textEmpty    = "Uploaded file must be a non-empty zip"
	textUnzipped = "Unzipped size must be smaller than 262144000 bytes"
	textPending  = "The operation cannot be performed at this time. The function is currently in the following state: Pending"
	textTags     = "Number of tags exceeds resource tag limit."
	textRole     = "The role defined for the function cannot be assumed by Lambda."
	textStorage  = "Code storage limit exceeded."
	// AWS: this exact text was not recorded; it is the model's description of the error.
	textRecursive = "Lambda has detected your function being invoked in a recursive loop with other Amazon Web Services resources and stopped your function's invocation."
	textDisk      = "The service cannot complete the request: its disk is full."
)

// apiError translates an error of the domain that a request about the function at arn met.
func apiError(err error, arn string) error {
	var state *invoke.StateError
	var throttled *invoke.ThrottledError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, function.ErrNotFound):
		return missing("Function not found: %s", arn)
	case errors.Is(err, function.ErrPending):
		return conflict(textPending)
	case errors.Is(err, function.ErrUpdating):
		return conflict("The operation cannot be performed at this time. An update is in progress for resource: %s", arn)
	case errors.Is(err, function.ErrRevision):
		return &types.PreconditionFailedException{Message: wire.Ptr(textRevision)}
	case errors.Is(err, function.ErrStorage):
		return &types.CodeStorageExceededException{Message: wire.Ptr(textStorage)}
	case errors.Is(err, function.ErrTags):
		return invalid(textTags)
	case errors.Is(err, code.ErrNotZip):
		return invalid(textUnzip)
	case errors.Is(err, code.ErrEmpty):
		return invalid(textEmpty)
	case errors.Is(err, code.ErrTooLarge):
		return invalid(textUnzipped)
	case errors.Is(err, function.ErrRole):
		return &wire.Error{Code: "AccessDeniedException", Message: textRole, Status: http.StatusForbidden, UpperMessage: true}
	case errors.As(err, &state):
		return conflict("%s", state.Error())
	case errors.As(err, &throttled):
		return throttle(types.ThrottleReason(throttled.Reason), int(throttled.RetryAfter.Seconds()))
	case errors.Is(err, queue.ErrFull):
		return throttle(types.ThrottleReasonFunctionInvocationRateLimitExceeded, 1)
	case errors.Is(err, disk.ErrFull), errors.Is(err, kv.ErrFull):
		// AWS: has no such error; this is the one of its own faults, which SDKs try again.
		return &types.ServiceException{Message: wire.Ptr(textDisk), Type: wire.Ptr("Service")}
	case errors.Is(err, invoke.ErrRecursive):
		return &types.RecursiveInvocationException{Message: wire.Ptr(textRecursive)}
	case errors.Is(err, invoke.ErrDraining):
		return &wire.Error{Code: "ServiceUnavailableException", Message: "Service is unable to handle request.", Status: http.StatusServiceUnavailable, ServerFault: true}
	}
	return err
}

func throttle(reason types.ThrottleReason, seconds int) error {
	return &types.TooManyRequestsException{
		Message: wire.Ptr("Rate Exceeded."), Reason: reason,
		RetryAfterSeconds: wire.Ptr(strconv.Itoa(max(seconds, 1))),
	}
}

// entityTooLarge is an error that AWS's model of Lambda lacks. AWS: recorded for CreateFunction.
func entityTooLarge(format string, args ...any) error {
	return &wire.Error{Code: "RequestEntityTooLargeException", Message: fmt.Sprintf(format, args...), Status: http.StatusRequestEntityTooLarge}
}
