//! One HTTP/1.1 request with limits: time, response size, no redirects.
