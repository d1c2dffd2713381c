/* Between the parts of the SDK. */
#ifndef PORTCULLIS_MEMORY_H
#define PORTCULLIS_MEMORY_H

/* Frees what `pc_alloc` gave: the question has been answered. */
void pc_free_all(void);

#endif
