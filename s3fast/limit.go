package s3fast

// Limits bounds what each user, and anonymous clients together, may ask of the
// server.
type Limits struct{}

// admit refuses an authenticated request that is beyond its user's limits:
// SlowDown. dismiss ends what a successful admit began.
func (r *request) admit() error { return nil }

// dismiss may be called more than once, and without admit.
func (r *request) dismiss() {}
