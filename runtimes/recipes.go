package runtimes

import "embed"

// Recipes holds recipes.json, which says how an image of our own is made from ordinary packages,
// and sdk/, the locked versions of what is not in Debian: the AWS SDKs and the Node.js binaries.
//
//go:embed recipes.json sdk
var Recipes embed.FS
