package lambent

import (
	"context"
	"errors"
	"net/http"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

// RotateRootKeyInput has no members.
type RotateRootKeyInput struct{}

// RotateRootKeyOutput names the new key and the file that has its secret, which no answer shows.
type RotateRootKeyOutput struct{ AccessKeyID, File string }

// RotateRootKey serves RotateRootKey: the account's root key is replaced, the old one refused from
// then on. Only root may, whatever policies say: nobody else can tell root about it.
func (a *API) RotateRootKey(ctx context.Context, _ *RotateRootKeyInput) (*RotateRootKeyOutput, error) {
	p, ok := iam.PrincipalFrom(ctx)
	switch {
	case !ok:
		return nil, errors.New("the request has no principal")
	case p.Kind != iam.Root:
		return nil, &wire.Error{
			Code:    "AccessDeniedException",
			Message: "User: " + p.ARN + " is not authorized to perform: lambent:RotateRootKey because only the root user may replace its key",
			Status:  http.StatusForbidden,
		}
	}
	// A client that hangs up must not leave a key in the state that no file has.
	id, file, err := a.cfg.Rotate(context.WithoutCancel(ctx))
	if err != nil {
		return nil, unavailable(err)
	}
	return &RotateRootKeyOutput{id, file}, nil
}
