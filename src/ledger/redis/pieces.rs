//! Arguments of commands that are written piece by piece: a call has many, and none needs a text of its own.

/// A text in pieces, in their order.
pub(super) trait Pieces {
    fn each(&self, put: impl FnMut(&str));
}

/// An argument of a command, and a text for people, of what is told in pieces.
macro_rules! written_in_pieces {
    ($($name:ty),*) => {$(
        impl redis::ToRedisArgs for $name {
            fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
                let mut argument = out.writer_for_next_arg();
                // It grows in memory, which never fails.
                self.each(|piece| _ = std::io::Write::write_all(&mut argument, piece.as_bytes()));
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut written = Ok(());
                self.each(|piece| written = written.and_then(|()| f.write_str(piece)));
                written
            }
        }
    )*};
}
pub(super) use written_in_pieces;
