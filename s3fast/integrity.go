package s3fast

// integrity returns what is computed of the payloads written to the request's
// bucket: what the bucket chose, else the cluster. An upload that declared a
// checksum keeps it to its end, for its object's is made of its parts'. Errors:
// those of settingsOf.
func (r *request) integrity() (integrity, error) {
	set, err := r.s.settingsOf(r.context(), &r.b)
	if err != nil {
		return integrity{}, err
	}
	p := set.performance.inForce(r.s.cfg.Cluster())
	return integrity{md5: p.ETagAlg != ETagUID, verify: r.declared || p.IntegrityMode != IntegrityDisabled}, nil
}

// completion returns what to verify of a completion, before its parts are read.
// Errors: those of integrity.
func (r *request) completion(upload [16]byte) (integrity, error) {
	want, err := r.integrity()
	if err != nil || want.verify {
		return want, err
	}
	// One that is gone says nothing: the engine may know what became of it.
	if up, err := r.s.cfg.Engine.Upload(r.context(), r.bucket, r.key, upload); err == nil {
		r.declared = up.Object.Checksum.Algorithm != ""
	}
	want.verify = r.declared
	return want, nil
}
