//! Which addresses a webhook may reach: checked on the resolved address at every dial.
