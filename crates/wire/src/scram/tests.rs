mod exchange;
mod refusals;
mod secrets;
