//! What a start makes of a store: of what another version wrote, and of what was damaged.

mod damage;
mod golden;
mod scene;
