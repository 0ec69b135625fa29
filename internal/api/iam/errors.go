package iam

import (
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/kv"
	"lambent.dev/lambent/internal/wire"
)

// statuses are the HTTP statuses of IAM's errors (API reference). The SDK's module of IAM has no
// schemas that would say them.
var statuses = map[string]int{
	"NoSuchEntity":            http.StatusNotFound,
	"EntityAlreadyExists":     http.StatusConflict,
	"DeleteConflict":          http.StatusConflict,
	"LimitExceeded":           http.StatusConflict,
	"ConcurrentModification":  http.StatusConflict,
	"MalformedPolicyDocument": http.StatusBadRequest,
	"InvalidInput":            http.StatusBadRequest,
	"UnmodifiableEntity":      http.StatusBadRequest,
	"ValidationError":         http.StatusBadRequest,
}

// apiError translates an error of the domain.
func apiError(err error) error {
	var invalid *iam.ValidationError
	if errors.As(err, &invalid) {
		return &wire.Error{Code: "ValidationError", Message: invalid.Message}
	}
	var own *iam.Error
	if !errors.As(err, &own) {
		if errors.Is(err, kv.ErrStale) || errors.Is(err, kv.ErrFull) {
			return &wire.Error{Code: "ServiceUnavailable", Message: "The service is unavailable. Try again.", Status: http.StatusServiceUnavailable, ServerFault: true}
		}
		return err
	}
	message := &own.Message
	switch own.Reason {
	case iam.ErrNotFound:
		return &types.NoSuchEntityException{Message: message}
	case iam.ErrExists:
		return &types.EntityAlreadyExistsException{Message: message}
	case iam.ErrInUse:
		return &types.DeleteConflictException{Message: message}
	case iam.ErrLimit:
		return &types.LimitExceededException{Message: message}
	case iam.ErrMalformed:
		return &types.MalformedPolicyDocumentException{Message: message}
	case iam.ErrInvalid:
		return &types.InvalidInputException{Message: message}
	case iam.ErrUnmodifiable:
		return &types.UnmodifiableEntityException{Message: message}
	case iam.ErrBusy:
		return &types.ConcurrentModificationException{Message: message}
	}
	return err
}

// translated is a handler whose errors are those of the API.
func translated[In, Out any](h func(context.Context, *In) (*Out, error)) func(context.Context, *In) (*Out, error) {
	return func(ctx context.Context, in *In) (*Out, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, apiError(err)
		}
		return out, nil
	}
}
