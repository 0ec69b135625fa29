package logs

import "lambent.dev/lambent/internal/wire"

func (a *API) operations() []wire.Operation { return nil }
