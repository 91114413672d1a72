"""What turns a trained run into something that answers in production: export, inspect, serve, call, batch, see."""
