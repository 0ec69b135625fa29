package statedir

import (
	"fmt"
	"os"
)

// Profile is what AWS's clients need to use the region.
type Profile struct {
	AccessKeyID, Secret string
	Region, Endpoint    string
}

// WriteProfile writes credentials and config, in the format of AWS's shared files, for owner.
//
// The directory itself becomes the owner's, still 0700, so that the user behind sudo reaches
// the two files; everything else in it stays root's and closed.
func (d *Dir) WriteProfile(p Profile, owner Owner) error {
	if err := os.Chown(d.Path, owner.UID, owner.GID); err != nil {
		return fmt.Errorf("give the state directory to user %d: %w", owner.UID, err)
	}
	credentials := fmt.Sprintf("[lambent]\naws_access_key_id = %s\naws_secret_access_key = %s\n", p.AccessKeyID, p.Secret)
	if err := d.Write("credentials", []byte(credentials), owner); err != nil {
		return err
	}
	config := fmt.Sprintf("[profile lambent]\nregion = %s\nendpoint_url = %s\noutput = json\n", p.Region, p.Endpoint)
	return d.Write("config", []byte(config), owner)
}
