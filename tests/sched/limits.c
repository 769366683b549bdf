#include "nets.h"
int main(void){return 0;}
