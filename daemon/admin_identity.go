package main

// identityRoutes are the admin routes of groups, access keys, service accounts and sessions.
func identityRoutes() map[string]adminFunc {
	return map[string]adminFunc{}
}
