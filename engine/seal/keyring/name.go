package keyring

// KeyName returns the name of the KMS key that wraps ring key id, or "" when there
// is no such ring key.
func (r *Ring) KeyName(id uint32) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.entries[id]; e != nil {
		return e.doc.KMSKey
	}
	return ""
}
