package main

import (
	"fmt"

	"github.com/spf13/cobra"

	lambentapi "lambent.dev/lambent/internal/api/lambent"
)

func keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "the root user's access key",
		Long: `The root user's access key is in the file "credentials" of the state directory, profile "lambent".
Keys of users are made by IAM: aws iam create-access-key.`,
	}
	c.AddCommand(keysRotate())
	return c
}

func keysRotate() *cobra.Command {
	c := &cobra.Command{
		Use:   "rotate",
		Short: "replace the root user's access key",
		Long: `Makes a new root key, writes it to the state directory's "credentials", and refuses the old one from
then on. Only the root user may. Sessions of functions' roles and keys of users stay as they are.
` + clientHelp,
		Example: "  sudo lambent keys rotate",
		Args:    cobra.NoArgs,
	}
	addSettings(c, "state-dir")
	c.RunE = func(c *cobra.Command, _ []string) error {
		r, err := regionOf(c)
		if err != nil {
			return err
		}
		var out lambentapi.RotateRootKeyOutput
		if err := r.call(c.Context(), "RotateRootKey", lambentapi.RotateRootKeyInput{}, &out); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "The root user's access key is %s now; its secret is in %s. The old key is refused.\n", out.AccessKeyID, out.File)
		return err
	}
	return c
}
