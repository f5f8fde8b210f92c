/* replay.c - main() for a fuzz program built without libFuzzer: runs it on the files named. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(1 << 20);
	size_t size = 0;

	if (f == NULL || data == NULL) {
		perror(path);
		return 1;
	}
	size = fread(data, 1, 1 << 20, f);
	fclose(f);
	/* An exact copy, so that a read past its end is seen. */
	uint8_t *exact = malloc(size ? size : 1);
	for (size_t i = 0; i < size; i++)
		exact[i] = data[i];
	free(data);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return 0;
}

int main(int argc, char **argv)
{
	int bad = 0;

	for (int i = 1; i < argc; i++)
		bad |= run_file(argv[i]);
	return bad;
}
