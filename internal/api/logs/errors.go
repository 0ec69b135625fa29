package logs

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/logstore"
	"lambent.dev/lambent/internal/pattern"
	"lambent.dev/lambent/internal/wire"
)

// invalid is InvalidParameterException.
func invalid(format string, args ...any) error {
	return &types.InvalidParameterException{Message: wire.Ptr(fmt.Sprintf(format, args...))}
}

// unsupported refuses what this region does not honour, by name.
func unsupported(what string) error {
	return invalid("This region does not support %s yet, so a request that has it is refused.", what)
}

func missing(what string) error {
	return &types.ResourceNotFoundException{Message: wire.Ptr("The specified " + what + " does not exist.")}
}

func exists(what string) error {
	return &types.ResourceAlreadyExistsException{Message: wire.Ptr("The specified " + what + " already exists")}
}

// apiError translates an error of the domain.
func apiError(err error) error {
	var check *iam.ValidationError
	switch {
	case errors.As(err, &check):
		return invalid("%s", check.Message)
	case errors.Is(err, logstore.ErrGroupNotFound):
		return missing("log group")
	case errors.Is(err, logstore.ErrStreamNotFound):
		return missing("log stream")
	case errors.Is(err, logstore.ErrGroupExists):
		return exists("log group")
	case errors.Is(err, logstore.ErrStreamExists):
		return exists("log stream")
	case errors.Is(err, logstore.ErrGroupProtected):
		return &types.ValidationException{Message: wire.Ptr("The log group has deletion protection enabled and cannot be deleted.")}
	case errors.Is(err, logstore.ErrTooManyTags):
		return &types.TooManyTagsException{Message: wire.Ptr(fmt.Sprintf("The resource can have no more than %d tags.", logstore.MaxTags))}
	case errors.Is(err, pattern.ErrInvalid):
		return invalid("Invalid filter pattern")
	case errors.Is(err, logstore.ErrFull), errors.Is(err, kv.ErrFull):
		return &types.ServiceUnavailableException{Message: wire.Ptr("The service cannot complete the request: its disk is full.")}
	}
	return err
}
