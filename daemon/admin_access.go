package main

// accessRoutes are the admin routes of bucket policies and the policy simulator.
func accessRoutes() map[string]adminFunc {
	return map[string]adminFunc{}
}
