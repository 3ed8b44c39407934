//! Numbered places that do not move.

/// Places of a chunk. Memory grows by chunks, so that nothing is ever copied or held twice.
const CHUNK: usize = 64;

/// Things by number; numbers are used again.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Box<[Option<T>]>>,
    free: Vec<u32>,
    /// Numbers that were ever given.
    given: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            given: 0,
        }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            let number = self.given;
            self.given += 1;
            if number as usize == self.chunks.len() * CHUNK {
                self.chunks.push((0..CHUNK).map(|_| None).collect());
            }
            number
        });
        if let Some(place) = self.place(number) {
            *place = Some(value);
        }
        number
    }

    fn place(&mut self, number: u32) -> Option<&mut Option<T>> {
        let chunk = self.chunks.get_mut(number as usize / CHUNK)?;
        chunk.get_mut(number as usize % CHUNK)
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.place(number)?.take();
        if value.is_some() {
            self.free.push(number);
        }
        value
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.slot(number)?.as_ref()
    }

    /// Where a number's thing is, without a look at it.
    pub(super) fn slot(&self, number: u32) -> Option<&Option<T>> {
        self.chunks
            .get(number as usize / CHUNK)?
            .get(number as usize % CHUNK)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.place(number)?.as_mut()
    }

    /// All numbers are below this.
    pub(super) fn end(&self) -> u32 {
        self.given
    }

    pub(super) fn len(&self) -> usize {
        self.given as usize - self.free.len()
    }
}
