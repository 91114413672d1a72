"""Takes a trained run into production: export, inspect, serve, request, batch, and a demo page."""
