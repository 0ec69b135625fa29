// Package bootstrap is /var/runtime/bootstrap of our images for custom runtimes: the program that
// starts the function's own bootstrap, from the deployment package or else from a layer.
//
// It is a hundred bytes of machine code in an ELF file, since it stands in every cold start: a shell
// that does the same costs as much there as a quarter of the sandbox (its loader, its library and
// the address space that it leaves behind).
package bootstrap

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Exit statuses, by which the program says that it could not start another one.
//
// AWS: RIE names the paths it tried when there is none, and what Go's fork/exec says when there is.
const (
	ExitNone       = 242 // neither /var/task/bootstrap nor /opt/bootstrap is there
	ExitPermission = 243 // it cannot be executed
	ExitFormat     = 244 // it is no program for this processor
	ExitNotFound   = 245 // its interpreter or loader is not there
)

// data are the strings behind the code. The sandbox gives the first process a HOME, AWS does not:
// it is taken away if it is this one, so that a function's own HOME stays.
const data = "HOME=/home/sbx_user1051\x00" + "/var/task/bootstrap\x00" + "/opt/bootstrap\x00"

// amd64 is the program for x86-64. Its data follow: home, task, opt.
const amd64 = "" +
	"488b0424" + // _start: mov (%rsp),%rax
	"488d54c410" + // lea 16(%rsp,%rax,8),%rdx
	"4989d0" + // mov %rdx,%r8
	"4989d1" + // mov %rdx,%r9
	"498b38" + // next: mov (%r8),%rdi
	"498939" + // mov %rdi,(%r9)
	"4885ff" + // test %rdi,%rdi
	"741a" + // je run
	"488d3571000000" + // lea home(%rip),%rsi
	"b918000000" + // mov $24,%ecx
	"f3a6" + // repz cmpsb %es:(%rdi),%ds:(%rsi)
	"7404" + // je drop
	"4983c108" + // add $8,%r9
	"4983c008" + // drop: add $8,%r8
	"ebdb" + // jmp next
	"488d3d6f000000" + // run: lea task(%rip),%rdi
	"e818000000" + // call try
	"488d3d77000000" + // lea opt(%rip),%rdi
	"e80c000000" + // call try
	"bff2000000" + // mov $242,%edi
	"b83c000000" + // exit: mov $60,%eax
	"0f05" + // syscall
	"b815000000" + // try: mov $21,%eax
	"31f6" + // xor %esi,%esi
	"0f05" + // syscall
	"85c0" + // test %eax,%eax
	"752c" + // jne back
	"6a00" + // push $0
	"57" + // push %rdi
	"4889e6" + // mov %rsp,%rsi
	"b83b000000" + // mov $59,%eax
	"0f05" + // syscall
	"bff3000000" + // mov $243,%edi
	"83f8f3" + // cmp $-13,%eax
	"74d5" + // je exit
	"ffc7" + // inc %edi
	"83f8f8" + // cmp $-8,%eax
	"74ce" + // je exit
	"ffc7" + // inc %edi
	"83f8fe" + // cmp $-2,%eax
	"74c7" + // je exit
	"bf7e000000" + // mov $126,%edi
	"ebc0" + // jmp exit
	"c3" // back: ret

// arm64 is the same for AArch64.
const arm64 = "" +
	"e00340f9" + // _start: ldr x0, [sp]
	"e1430091" + // add x1, sp, #16
	"2a0c008b" + // add x10, x1, x0, lsl #3
	"e3030aaa" + // mov x3, x10
	"e4030aaa" + // mov x4, x10
	"658440f8" + // next: ldr x5, [x3], #8
	"850000f9" + // str x5, [x4]
	"450100b4" + // cbz x5, run
	"26050010" + // adr x6, home
	"a7144038" + // same: ldrb w7, [x5], #1
	"c8144038" + // ldrb w8, [x6], #1
	"ff00086b" + // cmp w7, w8
	"61000054" + // b.ne keep
	"87ffff35" + // cbnz w7, same
	"f7ffff17" + // b next
	"84200091" + // keep: add x4, x4, #8
	"f5ffff17" + // b next
	"c9040010" + // run: adr x9, task
	"06000094" + // bl try
	"29050010" + // adr x9, opt
	"04000094" + // bl try
	"401e8052" + // mov w0, #242
	"a80b8052" + // exit: mov w8, #93
	"010000d4" + // svc #0
	"600c8012" + // try: mov w0, #-100
	"e10309aa" + // mov x1, x9
	"02008052" + // mov w2, #0
	"08068052" + // mov w8, #48
	"010000d4" + // svc #0
	"60020035" + // cbnz w0, back
	"e97fbfa9" + // stp x9, xzr, [sp, #-16]!
	"e00309aa" + // mov x0, x9
	"e1030091" + // mov x1, sp
	"e2030aaa" + // mov x2, x10
	"a81b8052" + // mov w8, #221
	"010000d4" + // svc #0
	"e103002a" + // mov w1, w0
	"601e8052" + // mov w0, #243
	"3f340031" + // cmn w1, #13
	"e0fdff54" + // b.eq exit
	"801e8052" + // mov w0, #244
	"3f200031" + // cmn w1, #8
	"80fdff54" + // b.eq exit
	"a01e8052" + // mov w0, #245
	"3f080031" + // cmn w1, #2
	"20fdff54" + // b.eq exit
	"c00f8052" + // mov w0, #126
	"e7ffff17" + // b exit
	"c0035fd6" // back: ret

// base is where the program is loaded: any address that is not the zero page.
const base = 0x400000

// Program returns the program for a processor, in Go's words for it.
func Program(arch string) ([]byte, error) {
	text, machine := amd64, elf.EM_X86_64
	switch arch {
	case "amd64":
	case "arm64":
		text, machine = arm64, elf.EM_AARCH64
	default:
		return nil, fmt.Errorf("no bootstrap for processor %s", arch)
	}
	code, err := hex.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("bootstrap for %s: %w", arch, err)
	}
	code = append(code, data...)
	head, prog := elf.Header64{}, elf.Prog64{}
	start := uint64(binary.Size(head) + binary.Size(prog))
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS], head.Ident[elf.EI_DATA], head.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	head.Type, head.Machine, head.Version = uint16(elf.ET_EXEC), uint16(machine), uint32(elf.EV_CURRENT)
	head.Entry, head.Phoff, head.Phnum = base+start, uint64(binary.Size(head)), 1
	head.Ehsize, head.Phentsize = uint16(binary.Size(head)), uint16(binary.Size(prog))
	size := start + uint64(len(code))
	prog = elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x10000,
	}
	var b bytes.Buffer
	for _, part := range []any{head, prog, code} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return nil, fmt.Errorf("bootstrap for %s: %w", arch, err)
		}
	}
	return b.Bytes(), nil
}
