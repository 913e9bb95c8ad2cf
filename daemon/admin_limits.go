package main

// limitRoutes are the admin routes of limits.
func limitRoutes() map[string]adminFunc {
	return map[string]adminFunc{}
}
