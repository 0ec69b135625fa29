package lambent

import "context"

// RotateRootKeyInput has no members.
type RotateRootKeyInput struct{}

// RotateRootKeyOutput names the new key and the file that has its secret, which no answer shows.
type RotateRootKeyOutput struct{ AccessKeyID, File string }

// RotateRootKey serves RotateRootKey: the account's root key is replaced, the old one refused from
// then on. Only root may, whatever policies say: nobody else can tell root about it.
func (a *API) RotateRootKey(ctx context.Context, _ *RotateRootKeyInput) (*RotateRootKeyOutput, error) {
	if err := rootOnly(ctx, "RotateRootKey", "only the root user may replace its key"); err != nil {
		return nil, err
	}
	// A client that hangs up must not leave a key in the state that no file has.
	id, file, err := a.cfg.Rotate(context.WithoutCancel(ctx))
	if err != nil {
		return nil, unavailable(err)
	}
	return &RotateRootKeyOutput{id, file}, nil
}
